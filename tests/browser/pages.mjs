// Every page in every state worth looking at: what `screenshots.mjs` takes pictures of and `axe.mjs` checks. A new page gets a
// line here. `as` says who looks: visitor, member (no team yet), captain, organizer. `path` may use `facts`, the ids that
// the deployment was prepared with (tests/e2e/pages.rs). `act` brings the opened page into the state it is named after. Pages
// with `sealed` come in a second round, after documents were sealed. What one page does, the later ones see.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { facts } from "./crew.mjs";
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

/** Begins to send a folder on a line that is dead. */
async function uploadCut(page) {
  await pickHere(page, fixture("w4a16-actorder-group"));
  await page.route("**/files/*", (route) => route.abort());
  await page.click("[data-action=upload]");
  await page.locator(".file-list [data-state=retrying]").first().waitFor();
}

/** Sends a form as it is, whatever the browser thinks of its fields. */
async function send(page, fields, wait = ".error") {
  for (const [name, value] of Object.entries(fields)) await page.fill(`main [name=${name}]`, value);
  await page.evaluate(() => { document.querySelector("main form").noValidate = true; });
  await page.click("main form button.primary");
  await page.waitForSelector(wait);
}

/** Reveals the sealed documents, which happens once. */
async function revealOnce(page, name = facts.contest) {
  if (!(await page.locator("#confirm").count())) return;
  await page.fill("#confirm", name);
  await page.click("#seal button");
  await page.waitForSelector(name === facts.contest ? "#seal:not(:has(form))" : "#confirm-wrong");
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

const all = [
  { name: "board", as: "visitor", path: "/" },
  { name: "board-captain", as: "captain", path: "/" },
  { name: "board-filter-none", as: "visitor", path: "/?q=nobody" },
  { name: "compare", as: "visitor", path: (facts) => `/compare?a=${facts.first}&b=${facts.second}` },
  { name: "login", as: "visitor", path: "/login" },
  { name: "login-wrong", as: "visitor", path: "/login", act: (page) => send(page, { email: "nobody@example.org", password: "not this one" }, ".form-error") },
  { name: "signup", as: "visitor", path: "/signup" },
  { name: "signup-wrong", as: "visitor", path: "/signup", act: (page) => send(page, { name: "", email: "nobody", password: "short" }) },
  { name: "not-found", as: "visitor", path: "/nowhere", status: 404 },
  { name: "bad-request", as: "visitor", path: "/compare", status: 400 },
  { name: "forbidden", as: "captain", path: "/admin", status: 403 },
  { name: "reset", as: "visitor", path: "/reset" },
  { name: "link-over", as: "visitor", path: `/reset/choose?token=${"0".repeat(64)}`, status: 410 },
  { name: "account", as: "member", path: "/account" },
  { name: "team-none", as: "member", path: "/team" },
  { name: "submissions-none", as: "member", path: "/submissions" },
  { name: "submission-new-no-team", as: "member", path: "/submissions/new" },
  { name: "team", as: "captain", path: "/team" },
  { name: "submissions", as: "captain", path: "/submissions" },
  { name: "submission-new", as: "captain", path: "/submissions/new" },
  { name: "precheck-rejected", as: "captain", path: "/submissions/new", act: (page) => pickHere(page, fixture("exaone35")) },
  { name: "precheck-accepted", as: "captain", path: "/submissions/new", act: (page) => pickHere(page, fixture("untied-w4a16")) },
  { name: "precheck-archive", as: "captain", path: "/submissions/new", act: (page) => page.setInputFiles("input[webkitdirectory]", wrongFolder()).then(() => page.locator("[role=alert]").waitFor()) },
  { name: "upload-whole", as: "captain", path: "/submissions/new", act: uploadAll },
  { name: "upload-cut", as: "captain", path: "/submissions/new", act: uploadCut },
  { name: "upload-paused", as: "captain", path: "/submissions/new", act: (page) => uploadCut(page).then(() => page.click("[data-action=pause]")) },
  { name: "submission-new-drafts", as: "captain", path: "/submissions/new" },
  { name: "submission-draft", as: "captain", path: "/submissions", act: (page) => page.click("tr:has(a[href*='continue=']) th a").then(() => page.waitForSelector(".draft-actions")) },
  { name: "submission-queued", as: "captain", path: submission("queued") },
  { name: "submission-running", as: "captain", path: submission("running") },
  { name: "submission-graded", as: "captain", path: submission("graded"), act: openAll("main details") },
  { name: "submission-rejected", as: "captain", path: submission("rejected") },
  { name: "submission-failed", as: "captain", path: submission("failed") },
  { name: "submission-cancelled", as: "captain", path: submission("cancelled") },
  { name: "admin", as: "organizer", path: "/admin" },
  { name: "admin-queue", as: "organizer", path: "/admin/queue" },
  { name: "admin-job", as: "organizer", path: "/admin/queue?state=running", act: (page) => page.click("tr[data-job] th a") },
  { name: "admin-queue-none", as: "organizer", path: "/admin/queue?q=nobody" },
  { name: "admin-rerun", as: "organizer", path: (facts) => `/admin/submissions/${facts.graded}/rerun` },
  { name: "admin-rerun-many", as: "organizer", path: "/admin/queue/rerun?state=failed" },
  { name: "admin-cancel", as: "organizer", path: (facts) => `/admin/submissions/${facts.queued}/cancel` },
  { name: "admin-submissions", as: "organizer", path: "/admin/submissions", act: disqualifyOnce },
  { name: "admin-disqualify", as: "organizer", path: (facts) => `/admin/submissions/${facts.graded}/disqualify` },
  { name: "admin-reinstate", as: "organizer", path: (facts) => `/admin/submissions/${facts.rejected}/reinstate` },
  { name: "submission-disqualified", as: "captain", path: submission("rejected") },
  { name: "submissions-disqualified", as: "captain", path: "/submissions" },
  { name: "admin-workers", as: "organizer", path: "/admin/workers" },
  { name: "admin-enrol", as: "organizer", path: "/admin/workers", act: (page) => page.click("form[action='/admin/enrol'] button") },
  { name: "admin-revoke", as: "organizer", path: "/admin/workers", act: (page) => page.click("a[href$='/revoke']") },
  { name: "admin-contest", as: "organizer", path: "/admin/contest" },
  { name: "admin-contest-wrong", as: "organizer", path: "/admin/contest", act: (page) => rules(page, ["decimals = 4", 'decimals = "four"'], "#mistakes li") },
  { name: "admin-contest-preview", as: "organizer", path: "/admin/contest", act: (page) => rules(page, ["at_least = 0.75", "at_least = 0.98"]) },
  { name: "admin-contest-version", as: "organizer", path: "/admin/contest/versions/1" },
  { name: "admin-teams", as: "organizer", path: "/admin/teams" },
  { name: "admin-team", as: "organizer", path: "/admin/teams", act: (page) => page.click("table.teams th a") },
  { name: "admin-team-disqualify", as: "organizer", path: "/admin/teams", act: (page) => page.click("table.teams th a").then(() => page.click("a[href$='/disqualify']")).then(() => page.waitForSelector("#reason")) },
  { name: "admin-users", as: "organizer", path: "/admin/users" },
  { name: "admin-audit", as: "organizer", path: "/admin/audit" },
  { name: "board-sealed", as: "visitor", path: "/", sealed: true },
  { name: "submission-sealed", as: "captain", path: submission("graded"), sealed: true },
  { name: "admin-reveal", as: "organizer", path: "/admin", sealed: true },
  { name: "admin-reveal-wrong", as: "organizer", path: "/admin", act: (page) => revealOnce(page, "another"), sealed: true },
  { name: "admin-revealed", as: "organizer", path: "/admin", act: (page) => revealOnce(page), sealed: true },
  { name: "board-revealed", as: "visitor", path: "/", sealed: true },
  { name: "compare-revealed", as: "visitor", path: (facts) => `/compare?a=${facts.first}&b=${facts.second}`, sealed: true },
  { name: "submission-revealed", as: "captain", path: submission("graded"), sealed: true },
];

/** The pages of this round. */
export const pages = all.filter(({ sealed = false }) => sealed === Boolean(facts.sealed));
