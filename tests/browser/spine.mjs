// From nothing to a row on the board: sign up, make a team, pick a folder, see the verdict, upload, watch, find the row.
import assert from "node:assert/strict";
import { address, createTeam, fixture, inBrowser, pick, signUp } from "./steps.mjs";

const team = process.env.ASSAY_TEAM ?? "Night Owls";

await inBrowser(async (page) => {
  await signUp(page, `Captain of ${team}`);
  await createTeam(page, team);

  let bytesSent = 0;
  page.on("request", (request) => {
    if (request.method() === "PATCH") bytesSent += 1;
  });
  assert.equal(await pick(page, fixture("w4a16-gptq")), "accepted");
  assert.equal(bytesSent, 0, "the verdict must come before any upload");
  await page.click("[data-action=upload]");

  await page.waitForURL(/\/submissions\/[0-9a-f-]{36}$/);
  assert.ok(bytesSent > 0);
  // The stages arrive live: no reload happens from here on.
  const seen = new Set();
  const finished = page.locator("[data-part=report] [data-verdict=accepted]");
  for (let tick = 0; tick < 1200 && !(await finished.count()); tick++) {
    for (const stage of await page.locator("[data-stage][data-state=running]").all()) {
      seen.add(await stage.getAttribute("data-stage").catch(() => null));
    }
    await page.waitForTimeout(100);
  }
  assert.ok(await finished.count(), "no report appeared");
  assert.ok(seen.has("evaluate"), `stages seen at work: ${[...seen]}`);
  const report = await page.locator("[data-part=report]").innerText();
  assert.match(report, /mini_gsm/);
  // What the model wrote stands beside what the base wrote, and the certificate is one digest to compare.
  const texts = page.locator(".sample").first().locator(".both dd");
  assert.equal(await texts.count(), 2);
  assert.match(await texts.first().innerText(), /32/);
  const digest = await page.locator("[data-certificate]").getAttribute("data-certificate");
  assert.match(digest, /^[0-9a-f]{64}$/);
  assert.equal((await page.locator(".certificate-digest").innerText()).replaceAll(/\s/g, ""), digest);

  await page.goto(address);
  const row = page.locator(`tr[data-team='${team}']`);
  await row.waitFor();
  assert.ok((await row.innerText()).includes("1.55"), "the row shows the size in MB");
  assert.match(await row.innerText(), /0\.\d{3} – [01]\.\d{3}/, "the row shows the interval of an accuracy");

  // The same pages speak Korean, and the session ends when asked to.
  await page.click("form[action='/locale'] button");
  assert.equal(await page.getAttribute("html", "lang"), "ko");
  await row.waitFor();
  await page.click("details:has(form[action='/logout']) summary");
  await page.click("form[action='/logout'] button");
  await page.goto(`${address}/submissions`);
  assert.match(page.url(), /\/login/);
});
