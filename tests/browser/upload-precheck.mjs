// The precheck: verdict, exact weight, hints and kind sentences for wrong folders, before a byte moves and within a second.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createTeam, fixture, inBrowser, pick, signUp } from "./steps.mjs";

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "assay-precheck-"));
const folder = (name) => path.join(scratch, name);

try {
  await inBrowser(async (page) => {
    await signUp(page, "Ada Weigher");
    await createTeam(page, "Scales");
    let sent = 0;
    page.on("request", (request) => {
      if (request.method() === "PATCH" || (request.method() === "POST" && /\/api\/v1\/submissions$/.test(request.url()))) sent += 1;
    });

    // Accepted: the figures are the file's own, the table adds up to them, and the map has a box for every group.
    assert.equal(await pick(page, fixture("untied-w4a16")), "accepted");
    const exact = fs.statSync(path.join(fixture("untied-w4a16"), "model.safetensors")).size;
    assert.equal(Number(await page.locator("[data-bytes]").getAttribute("data-bytes")), exact);
    const figures = await page.locator(".groups:not(.devices) tbody td:nth-child(2)").allInnerTexts();
    assert.equal(figures.reduce((sum, text) => sum + Number(text.replaceAll(",", "")), 0), exact);
    assert.equal(await page.locator(".treemap .box rect.g:not(.saved)").count(), figures.length);
    const saves = await page.locator("[data-saves]").evaluateAll((hints) => hints.map((hint) => Number(hint.dataset.saves)));
    assert.ok(saves.length > 0 && saves.every((bytes, i) => bytes > 0 && (i === 0 || bytes <= saves[i - 1])), `hints by bytes: ${saves}`);
    const took = Number((await page.locator(".took").innerText()).match(/[\d.]+/)[0]);
    assert.ok(took < 1, `${took} s`);
    assert.ok(await page.locator(".panel-head").evaluate((head) => head === document.activeElement), "the verdict has the focus");

    // Rejected: the reason with its fix, and no way to send.
    assert.equal(await pick(page, fixture("exaone35")), "rejected");
    assert.ok((await page.locator("[data-problem] .fix").first().innerText()).length > 10);
    assert.equal(await page.locator("[data-action=upload]").count(), 0);

    // The folder above: the checkpoint in it is found and named.
    fs.cpSync(fixture("w4a16-gptq"), folder("parent/quantized"), { recursive: true });
    fs.writeFileSync(folder("parent/notes.txt"), "two bits were too few");
    assert.equal(await pick(page, folder("parent")), "accepted");
    assert.match(await page.locator(".panel-note").innerText(), /quantized/);

    // Several of them: a choice, by keyboard too.
    fs.cpSync(fixture("w8a16"), folder("parent/eight"), { recursive: true });
    await page.goto(page.url());
    await page.setInputFiles("input[webkitdirectory]", folder("parent"));
    await page.locator("[data-folder=eight]").waitFor();
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.locator("[data-verdict=accepted]").waitFor();
    assert.match(await page.locator(".panel-head").innerText(), /W8A16/);

    // No checkpoint at all: each is called by its name.
    for (const [name, words] of [["model.zip", /Unpack it/], ["pytorch_model.bin", /safe_serialization/], ["model.Q4_K_M.gguf", /GGUF/], ["adapter_model.safetensors", /merge_and_unload/], ["holiday.jpg", /no checkpoint here/]]) {
      const place = folder(`wrong-${name}`);
      fs.mkdirSync(place);
      fs.writeFileSync(path.join(place, name), "x");
      await page.goto(page.url());
      await page.setInputFiles("input[webkitdirectory]", place);
      const alert = page.locator("[role=alert]");
      await alert.waitFor();
      assert.match(await alert.innerText(), words);
    }
    assert.equal(sent, 0, "nothing was declared or uploaded");
  });
} finally {
  fs.rmSync(scratch, { recursive: true, force: true });
}
