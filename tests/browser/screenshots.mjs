// A picture of every page of the list in both languages and colour schemes at 1280 and 390 pixels, and contact sheets of them:
//   ASSAY_ADDRESS=… ASSAY_FIXTURES=… ASSAY_FACTS=… node tests/browser/screenshots.mjs OUT [NAME...]
// `tests/screenshots` prepares a deployment and calls this.
import fs from "node:fs";
import path from "node:path";
import { pages } from "./pages.mjs";
import { crew, facts, launch, open } from "./crew.mjs";
import { address } from "./steps.mjs";

const [out = "screenshots", ...only] = process.argv.slice(2);
fs.mkdirSync(out, { recursive: true });
const browser = await launch();
const people = await crew(browser);
const taken = [];

for (const one of pages.filter(({ name }) => !only.length || only.includes(name))) {
  for (const locale of ["en-GB", "ko-KR"]) {
    const context = await browser.newContext({ locale, viewport: { width: 1280, height: 900 }, reducedMotion: "reduce" });
    await context.addCookies([...people[one.as], { name: "locale", value: locale.slice(0, 2), url: address }]);
    // Styles as they lie on the disk, to look at changes without building: ASSAY_STATIC=static
    if (process.env.ASSAY_STATIC) {
      await context.route(/\/static\/[0-9a-f]+\//, (route) => {
        const file = path.join(process.env.ASSAY_STATIC, new URL(route.request().url()).pathname.split("/").slice(3).join("/"));
        return route.fulfill({ path: file, contentType: { css: "text/css", js: "text/javascript", svg: "image/svg+xml" }[file.split(".").pop()] });
      });
    }
    const page = await context.newPage();
    try {
      await open(page, one);
      for (const [width, height] of [[1280, 900], [390, 844]]) {
        await page.setViewportSize({ width, height });
        for (const colorScheme of ["light", "dark"]) {
          await page.emulateMedia({ colorScheme });
          const file = `${one.name}.${locale.slice(0, 2)}.${colorScheme}.${width}.png`;
          await page.screenshot({ path: path.join(out, file), fullPage: true });
          taken.push(file);
          const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          if (wider > 0) console.log(`${file}: ${wider} px wider than the window`);
        }
      }
    } catch (error) {
      console.log(`${one.name}: ${error}`);
      process.exitCode = 1;
    }
    await context.close();
  }
}

// Sheets of the second round have names of their own.
const round = facts.sealed ? "sealed." : "";
// Many at once: English light and Korean dark at both widths, twelve (wide) or sixteen (narrow) a sheet.
const sheetPage = await browser.newPage({ viewport: { width: 1800, height: 1000 } });
for (const [kind, each, columns] of [["en.light.1280", 9, 3], ["ko.dark.1280", 9, 3], ["ko.light.390", 16, 8], ["en.dark.390", 16, 8]]) {
  const files = taken.filter((file) => file.endsWith(`.${kind}.png`));
  for (let at = 0; at < files.length; at += each) {
    const figures = files.slice(at, at + each).map((file) => `<figure><figcaption>${file}</figcaption><img src="${file}"></figure>`);
    const sheet = path.resolve(out, `sheet.${round}${kind}.${at / each}`);
    fs.writeFileSync(`${sheet}.html`, `<!doctype html><style>body{margin:8px;display:grid;grid-template-columns:repeat(${columns},1fr);gap:8px;font:12px sans-serif;background:#888;align-items:start}
      figure{margin:0}img{width:100%;max-height:1100px;object-fit:cover;object-position:top}</style>${figures.join("")}`);
    await sheetPage.goto(`file://${sheet}.html`, { waitUntil: "load" });
    await sheetPage.screenshot({ path: `${sheet}.png`, fullPage: true });
    fs.rmSync(`${sheet}.html`);
  }
}
await browser.close();
console.log(`${taken.length} pictures in ${out}`);
