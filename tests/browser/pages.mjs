// Every page in every state worth looking at: what `screenshots.mjs` takes pictures of and `axe.mjs` checks. A new page gets a
// line here. `as` says who looks: visitor, member (no team yet), captain, organizer. `path` may use `facts`, the ids that
// the deployment was prepared with (tests/e2e/pages.rs). `act` brings the opened page into the state it is named after.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fixture, pickHere } from "./steps.mjs";

const submission = (state) => (facts) => `/submissions/${facts[state]}`;
const openAll = (selector) => (page) => page.evaluate((s) => document.querySelectorAll(s).forEach((d) => { d.open = true; }), selector);

/** A folder that holds nothing but an archive. */
function wrongFolder() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "assay-page-"));
  fs.writeFileSync(path.join(folder, "model.zip"), "x");
  return folder;
}

/** Sends a folder to the point where only the word to submit is missing; leaves a draft behind. */
async function uploadAll(page) {
  await pickHere(page, fixture("w4a16-g32"));
  await page.uncheck("#auto");
  await page.click("[data-action=upload]");
  await page.locator(".transfer[data-phase=whole]").waitFor();
}

/** Something that is out of the ranking: what a worker rejected, so that no other page changes. */
async function disqualifyOnce(page) {
  if (await page.locator("table.out").count()) return;
  await page.goto(`${page.url()}?q=rules`);
  await page.click("table.submissions a[href$='/disqualify']");
  await page.fill("#reason", "The same weights as another team's / 다른 팀과 같은 가중치");
  await page.click("button.danger");
  await page.waitForSelector("table.out");
}

/** Changes the rules in the editor; waits for the list of mistakes, or goes on to what would change. */
async function rules(page, [from, to], wait) {
  const source = await page.inputValue("#source");
  await page.fill("#source", source.replace(from, to));
  if (wait) return page.waitForSelector(wait);
  await page.click("form.editor button.primary");
  return page.waitForSelector("table.differences");
}

export const pages = [
  { name: "board", as: "visitor", path: "/" },
  { name: "board-captain", as: "captain", path: "/" },
  { name: "compare", as: "visitor", path: (facts) => `/compare?a=${facts.first}&b=${facts.second}` },
  { name: "login", as: "visitor", path: "/login" },
  { name: "signup", as: "visitor", path: "/signup" },
  { name: "not-found", as: "visitor", path: "/nowhere", status: 404 },
  { name: "bad-request", as: "visitor", path: "/compare", status: 400 },
  { name: "forbidden", as: "captain", path: "/admin", status: 403 },
  { name: "reset", as: "visitor", path: "/reset" },
  { name: "link-over", as: "visitor", path: `/reset/choose?token=${"0".repeat(64)}`, status: 410 },
  { name: "account", as: "member", path: "/account" },
  { name: "team-none", as: "member", path: "/team" },
  { name: "team-join", as: "member", path: "/team/join" },
  { name: "submissions-none", as: "member", path: "/submissions" },
  { name: "team", as: "captain", path: "/team" },
  { name: "submissions", as: "captain", path: "/submissions" },
  { name: "submission-new", as: "captain", path: "/submissions/new" },
  { name: "precheck-rejected", as: "captain", path: "/submissions/new", act: (page) => pickHere(page, fixture("exaone35")) },
  { name: "precheck-accepted", as: "captain", path: "/submissions/new", act: (page) => pickHere(page, fixture("untied-w4a16")) },
  { name: "precheck-archive", as: "captain", path: "/submissions/new", act: (page) => page.setInputFiles("input[webkitdirectory]", wrongFolder()).then(() => page.locator("[role=alert]").waitFor()) },
  { name: "upload-whole", as: "captain", path: "/submissions/new", act: uploadAll },
  { name: "submission-new-drafts", as: "captain", path: "/submissions/new" },
  { name: "submission-queued", as: "captain", path: submission("queued") },
  { name: "submission-running", as: "captain", path: submission("running") },
  { name: "submission-graded", as: "captain", path: submission("graded"), act: openAll("main details") },
  { name: "submission-rejected", as: "captain", path: submission("rejected") },
  { name: "submission-failed", as: "captain", path: submission("failed") },
  { name: "submission-cancelled", as: "captain", path: submission("cancelled") },
  { name: "admin", as: "organizer", path: "/admin" },
  { name: "admin-queue", as: "organizer", path: "/admin/queue" },
  { name: "admin-job", as: "organizer", path: "/admin/queue?state=running", act: (page) => page.click("tr[data-job] th a") },
  { name: "admin-rerun-many", as: "organizer", path: "/admin/queue/rerun?state=failed" },
  { name: "admin-cancel", as: "organizer", path: (facts) => `/admin/submissions/${facts.queued}/cancel` },
  { name: "admin-submissions", as: "organizer", path: "/admin/submissions", act: disqualifyOnce },
  { name: "admin-disqualify", as: "organizer", path: (facts) => `/admin/submissions/${facts.graded}/disqualify` },
  { name: "submission-disqualified", as: "captain", path: submission("rejected") },
  { name: "admin-workers", as: "organizer", path: "/admin/workers" },
  { name: "admin-enrol", as: "organizer", path: "/admin/workers", act: (page) => page.click("form[action='/admin/enrol'] button") },
  { name: "admin-revoke", as: "organizer", path: "/admin/workers", act: (page) => page.click("a[href$='/revoke']") },
  { name: "admin-contest", as: "organizer", path: "/admin/contest" },
  { name: "admin-contest-wrong", as: "organizer", path: "/admin/contest", act: (page) => rules(page, ["decimals = 4", 'decimals = "four"'], "#mistakes li") },
  { name: "admin-contest-preview", as: "organizer", path: "/admin/contest", act: (page) => rules(page, ["at_least = 0.75", "at_least = 0.98"]) },
  { name: "admin-contest-version", as: "organizer", path: "/admin/contest/versions/1" },
  { name: "admin-teams", as: "organizer", path: "/admin/teams" },
  { name: "admin-team", as: "organizer", path: "/admin/teams", act: (page) => page.click("table.teams th a") },
  { name: "admin-users", as: "organizer", path: "/admin/users" },
  { name: "admin-audit", as: "organizer", path: "/admin/audit" },
];
