// Takes a picture of every page in both languages at 1280 and 390 pixels, for a person to look at:
//   ASSAY_ADDRESS=… ASSAY_FIXTURES=… ASSAY_ORGANIZER_PASSWORD=… node tests/browser/screenshots.mjs OUT
import fs from "node:fs";
import path from "node:path";
import { address, createTeam, fixture, inBrowser, pick, signUp } from "./steps.mjs";

const out = process.argv[2] ?? "screenshots";
fs.mkdirSync(out, { recursive: true });

for (const [locale, width] of [["en-GB", 1280], ["ko-KR", 1280], ["en-GB", 390], ["ko-KR", 390]]) {
  await inBrowser(
    async (page) => {
      const shot = (name) =>
        page.screenshot({ path: path.join(out, `${name}.${locale.slice(0, 2)}.${width}.png`), fullPage: true });
      const visit = async (place, name) => {
        await page.goto(address + place);
        await shot(name);
      };
      await visit("/", "board");
      if (await page.locator(".compare-form button").count()) {
        await page.click(".compare-form button");
        await shot("compare");
      }
      await visit("/login", "login");
      await visit("/signup", "signup");
      await visit("/nowhere", "not-found");
      const team = `Camera ${locale.slice(0, 2)} ${width} ${Date.now() % 100000}`;
      await signUp(page, team);
      await visit("/team", "team-none");
      await createTeam(page, team);
      await shot("team");
      await visit("/submissions", "submissions-none");
      await visit("/submissions/new", "submission-new");
      await pick(page, fixture("exaone35"));
      await shot("precheck-rejected");
      await pick(page, fixture("untied-w4a16"));
      await shot("precheck-accepted");
      await page.click("[data-action=upload]");
      await page.waitForURL(/\/submissions\/[0-9a-f-]{36}$/);
      await page.waitForSelector("[data-stage=evaluate][data-state=running]");
      await shot("submission-live");
      await page.waitForSelector("[data-part=report] [data-report], [data-part=report][data-report]");
      await page.waitForTimeout(500);
      await shot("submission-report");
      await visit("/submissions", "submissions");
      await page.click("details:has(form[action='/logout']) summary");
      await page.click("form[action='/logout'] button");
      if (process.env.ASSAY_ORGANIZER_PASSWORD) {
        await page.goto(`${address}/login`);
        await page.fill("#email", "organizer@example.org");
        await page.fill("#password", process.env.ASSAY_ORGANIZER_PASSWORD);
        await page.click("main form button.primary");
        await page.waitForURL((url) => url.pathname !== "/login");
        await visit("/admin", "admin");
      }
    },
    { locale, viewport: { width, height: width > 600 ? 900 : 844 } },
  );
}
