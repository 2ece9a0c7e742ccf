// The steps a team takes, shared by the scripts. Every wait is for something a person would see.
import { chromium } from "playwright-core";
import assert from "node:assert/strict";
import path from "node:path";

export const address = process.env.ASSAY_ADDRESS;
export const fixture = (name) => path.join(process.env.ASSAY_FIXTURES, name);

/** Runs `story(page)` in a fresh browser; an error on the page or a refused request of ours fails the script. */
export async function inBrowser(story, options = {}) {
  const browser = await chromium.launch({
    executablePath: process.env.ASSAY_TEST_CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"],
  });
  try {
    const page = await browser.newPage({ locale: "en-GB", viewport: { width: 1280, height: 900 }, ...options });
    const broken = [];
    page.on("pageerror", (error) => broken.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" && /Content Security Policy/.test(message.text())) broken.push(message.text());
    });
    page.on("response", (response) => {
      if (response.status() >= 500) broken.push(`${response.status()} ${response.url()}`);
    });
    page.setDefaultTimeout(180_000);
    await story(page);
    assert.deepEqual(broken, []);
  } finally {
    await browser.close();
  }
}

const emailOf = (name) => `${name.toLowerCase().replace(/\W/g, ".")}@example.org`;
const PASSWORD = "correct horse battery";

/** Logs in whoever signed up earlier under this name. */
export const logIn = (page, name) => enterAs(page, emailOf(name), PASSWORD);

export async function enterAs(page, email, password) {
  await page.goto(`${address}/login`);
  await page.fill("#email", email);
  await page.fill("#password", password);
  await page.click("main form button.primary");
  await page.waitForURL((url) => url.pathname !== "/login");
}

export async function signUp(page, name) {
  await page.goto(`${address}/signup`);
  await page.fill("#name", name);
  await page.fill("#email", emailOf(name));
  await page.fill("#password", PASSWORD);
  await page.click("main form button.primary");
  await page.waitForURL((url) => url.pathname !== "/signup");
}

export async function createTeam(page, name) {
  await page.goto(`${address}/team`);
  await page.fill("form[action='/team'] [name=name]", name);
  await page.click("form[action='/team'] button");
  await page.waitForSelector("#invite");
}

/** Picks a folder on the new-submission page and gives the verdict that the precheck shows. */
export async function pick(page, folder) {
  await page.goto(`${address}/submissions/new`);
  return pickHere(page, folder);
}

/** Picks a folder on the new-submission page that is open. */
export async function pickHere(page, folder) {
  await page.setInputFiles("input[type=file][webkitdirectory]", folder);
  const verdict = page.locator("[data-verdict]");
  await verdict.waitFor();
  return verdict.getAttribute("data-verdict");
}
