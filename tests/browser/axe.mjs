// Every page of the list through axe-core, wide and light, then narrow and dark, the languages in turn. Any violation fails:
//   ASSAY_ADDRESS=… ASSAY_FIXTURES=… ASSAY_FACTS=… node tests/browser/axe.mjs [NAME...]
import axe from "axe-core";
import { pages } from "./pages.mjs";
import { crew, launch, open } from "./crew.mjs";

const [wide, narrow] = [{ width: 1280, height: 900 }, { width: 390, height: 900 }];
const only = process.argv.slice(2);
const browser = await launch();
const people = await crew(browser);
const failures = [];
let checked = 0;
for (const [index, one] of pages.entries()) {
  if (only.length && !only.includes(one.name)) continue;
  // The check is code of ours put into the page, which the pages' own policy would refuse.
  const context = await browser.newContext({ locale: index % 2 ? "ko-KR" : "en-GB", viewport: wide, bypassCSP: true, reducedMotion: "reduce" });
  await context.addCookies(people[one.as]);
  const page = await context.newPage();
  try {
    await open(page, one);
    await page.addScriptTag({ content: axe.source });
    for (const [viewport, colorScheme] of [[wide, "light"], [narrow, "dark"]]) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      checked += 1;
      for (const { id, help, nodes } of violations) {
        failures.push(`${one.name} (${viewport.width}, ${colorScheme}): ${id}: ${help}\n` + nodes.slice(0, 4).map((node) => `    ${node.html.slice(0, 160)}\n      ${node.failureSummary.split("\n").slice(1).join(" ")}`).join("\n"));
      }
      // Nothing may stick out sideways: on a phone the whole page would slide.
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wider > 0) failures.push(`${one.name} (${viewport.width}): ${wider} px wider than the window`);
    }
  } catch (error) {
    failures.push(`${one.name}: ${error}`);
  }
  await context.close();
}
await browser.close();
console.log(`${checked} looks at ${pages.length} pages, ${failures.length} violations`);
if (failures.length) {
  console.log(failures.join("\n"));
  process.exit(1);
}
