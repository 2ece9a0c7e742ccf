// The people who look at the pages, each logged in once; their cookies are kept for every later look.
import { chromium } from "playwright-core";
import { address, logIn, enterAs, signUp } from "./steps.mjs";

/** What the deployment was prepared with: ids by state, the invitation code, the organizer's password. */
export const facts = JSON.parse(process.env.ASSAY_FACTS ?? "{}");

export const launch = () => chromium.launch({
  executablePath: process.env.ASSAY_TEST_CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"],
});

/** Logs everyone in; gives their cookies by name. */
export async function crew(browser) {
  const people = {};
  const enter = async (name, story) => {
    const context = await browser.newContext({ locale: "en-GB" });
    const page = await context.newPage();
    await story(page);
    people[name] = (await context.storageState()).cookies.filter(({ name }) => name !== "locale");
    await context.close();
  };
  // In the second round they have their accounts.
  const come = facts.sealed ? logIn : signUp;
  await enter("visitor", (page) => page.goto(address));
  await enter("member", (page) => come(page, "Mina Park"));
  await enter("captain", async (page) => {
    await come(page, "Ada Assayer");
    if (facts.sealed) return;
    await page.goto(`${address}/team`);
    await page.fill("form[action='/team/join'] [name=code]", facts.invite);
    await page.click("form[action='/team/join'] button");
    await page.waitForSelector("#invite");
  });
  await enter("organizer", async (page) => {
    await enterAs(page, "organizer@example.org", facts.password);
  });
  return people;
}

/** Opens one page of the list in its state. */
export async function open(page, { name, path, act, status = 200 }) {
  const answer = await page.goto(address + (typeof path === "function" ? path(facts) : path), { waitUntil: "load" });
  if (answer.status() !== status) throw new Error(`${name}: ${answer.status()} instead of ${status}`);
  await act?.(page);
}
