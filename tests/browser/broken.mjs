// A broken checkpoint gets its reason before a byte of it moves.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createTeam, fixture, inBrowser, pick, signUp } from "./steps.mjs";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "assay-broken-"));
try {
  fs.cpSync(fixture("w4a16-gptq"), folder, { recursive: true });
  // Its last tensor ends beyond the end of the file: what an interrupted copy leaves behind.
  const model = path.join(folder, "model.safetensors");
  fs.truncateSync(model, fs.statSync(model).size - 1000);

  await inBrowser(async (page) => {
    await signUp(page, "Leo Kim");
    await createTeam(page, "Cut Short");
    let sent = 0;
    page.on("request", (request) => {
      if (request.method() === "PATCH" || /\/api\/v1\/submissions$/.test(request.url())) sent += 1;
    });
    assert.equal(await pick(page, folder), "rejected");
    const problem = page.locator("[data-problem]").first();
    await problem.waitFor();
    const text = await problem.innerText();
    assert.match(text, /model\.safetensors/, text);
    const upload = page.locator("[data-action=upload]");
    assert.ok((await upload.count()) === 0 || (await upload.isDisabled()) || !(await upload.isVisible()), "a rejected checkpoint must not be uploadable");
    assert.equal(sent, 0);
  });
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
