// An upload that is interrupted goes on where the server stands:
//   node upload-resume.mjs reload | handle | network | kill | pause | logout | damage | proxy
// Says KILL on its output when the server is to be killed and START when it is to come back, and reads a line when it is up.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { line } from "./line.mjs";
import { large } from "./large.mjs";

const how = process.argv[2];
/** Bytes a second: slow enough to be interrupted, fast enough to be waited for. */
const RATE = 2_500_000;
const CHUNK = 1_000_000;
/** What may be on its way, or arrived and not yet committed, when something breaks. */
const IN_FLIGHT = 2_500_000;

const wire = await line(process.env.ASSAY_ADDRESS, RATE);
process.env.ASSAY_ADDRESS = wire.address;
const { createTeam, inBrowser, signUp } = await import("./steps.mjs");

const folder = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "assay-resume-")), "checkpoint");
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

try {
  large(process.env.ASSAY_FIXTURES, folder);
  const total = fs.readdirSync(folder).reduce((sum, name) => sum + fs.statSync(path.join(folder, name)).size, 0);

  await inBrowser(async (page) => {
    await page.addInitScript((handle) => {
      // A picker of the system cannot be driven; a folder of the page's own storage stands for the one it would give.
      window.showDirectoryPicker = handle ? async () => (await navigator.storage.getDirectory()).getDirectoryHandle("checkpoint") : undefined;
      addEventListener("DOMContentLoaded", () => document.querySelector("upload-panel")?.setAttribute("data-chunk-bytes", "1000000"));
    }, how === "handle");
    const dialogs = [];
    page.on("dialog", (dialog) => { dialogs.push(dialog.type()); dialog.accept(); });
    await signUp(page, `Resume ${how}`);
    await createTeam(page, `Team ${how}`);
    await page.goto(`${wire.address}/submissions/new`);

    const choose = async (action) => {
      if (how === "handle") return page.click(action);
      const chooser = page.waitForEvent("filechooser");
      await page.click(action);
      await (await chooser).setFiles(folder);
    };
    if (how === "handle") await intoStorage(page, folder);
    await choose("[data-action=choose]");
    await page.locator("[data-verdict=accepted]").waitFor();
    assert.equal(wire.bytes, 0, "nothing may be sent before it is asked for");
    await page.fill("#title", "Broken line");
    // Some proxy on the way takes only small bodies, which nobody told us.
    if (how === "proxy") wire.faults.mostBody = 300_000;
    const made = page.waitForResponse((answer) => answer.request().method() === "POST" && answer.url().endsWith("/api/v1/submissions"));
    await page.click("[data-action=upload]");
    const { id, files } = await (await made).json();

    const large = () => [...wire.seen.values()].find((row) => row.bytes > CHUNK);
    await until(() => (large()?.offset ?? 0) >= 3 * CHUNK, "three chunks arrived");
    const before = large().order.length;

    if (how === "reload" || how === "handle") {
      await page.reload();
      assert.deepEqual(dialogs, ["beforeunload"], "leaving while bytes move must be asked about");
      if (how === "reload") {
        const draft = page.locator("[data-draft]");
        await draft.waitFor();
        assert.match(await draft.innerText(), /Broken line/);
        await draft.getByText("Choose the same folder again").waitFor();
        await choose("[data-draft] [data-action=continue]");
      }
    } else if (how === "network") {
      await page.context().setOffline(true);
      wire.cut();
      await page.getByText("This device is offline").waitFor();
      await page.waitForTimeout(2500);
      await wire.mend();
      await page.context().setOffline(false);
    } else if (how === "kill") {
      console.log("KILL");
      await page.getByText("Trying again by itself").waitFor();
      console.log("START");
      await answers.next();
    } else if (how === "pause") {
      await page.click("[data-file='model.safetensors'] button");
      await page.locator("[data-file='model.safetensors'][data-state=paused]").waitFor();
      await page.locator(".transfer[data-phase=paused]").waitFor();
      // What lay between browser and line when it stopped runs out first.
      await page.waitForTimeout(900);
      const held = wire.bytes;
      await page.waitForTimeout(600);
      assert.equal(wire.bytes, held, "a pause must stop the bytes");
      await page.click("[data-action=resume]");
    }

    if (how === "logout") {
      // The session ends; the upload token does not. Only the page at the end asks to log in.
      await page.context().clearCookies();
      await page.waitForURL(/\/login/, { timeout: 180_000 });
    } else {
      if (how === "damage") wire.faults.damage = true;
      await page.waitForURL(/\/submissions\/[0-9a-f-]{36}$/, { timeout: 180_000 });
      assert.ok(page.url().endsWith(id));
    }
    const row = large();
    if (!["logout", "damage", "proxy"].includes(how)) {
      assert.ok(row.order.lastIndexOf("HEAD") >= before, `after a break the offset is asked for: ${row.order}`);
    }
    for (const [at, said] of row.begins) assert.equal(at, said, "every PATCH begins where the server said");
    assert.equal(row.begins.filter(([at]) => at === 0).length, 1, "no second beginning");
    assert.equal(wire.posts.filter((url) => url === "/api/v1/submissions").length, 1, "one draft");
    // What is here already, as in the base, is not sent.
    assert.equal(files.reduce((sum, file) => sum + file.bytes, 0), total);
    const due = files.filter((file) => file.origin === null).reduce((sum, file) => sum + file.bytes, 0);
    const again = wire.bytes - due;
    // A damaged file is the one thing that is sent again: whole, once, and that file alone.
    const twice = how === "damage" ? files.find((file) => file.name === "model.safetensors").bytes : 0;
    assert.ok(again >= twice && again <= twice + IN_FLIGHT, `${again} bytes of ${due} were sent twice`);

    if (how === "pause") {
      // The team has these files: the same folder again is whole at once, without a byte.
      const before = wire.bytes;
      await page.goto(`${wire.address}/submissions/new`);
      await choose("[data-action=choose]");
      await page.locator("[data-verdict=accepted]").waitFor();
      await page.uncheck("#auto");
      await page.click("[data-action=upload]");
      await page.locator(".transfer[data-phase=whole]").waitFor();
      assert.equal(await page.locator("[data-file][data-state=here]").count(), files.length);
      assert.match(await page.locator("[data-file='model.safetensors']").innerText(), /already here, from your team/);
      assert.equal(wire.bytes, before, "nothing is sent twice");
      await page.click("[data-action=submit]");
      await page.waitForURL((url) => /\/submissions\/[0-9a-f-]{36}$/.test(url.pathname) && !url.pathname.endsWith(id));
    }
    console.log(JSON.stringify({ how, total, due, sent: wire.bytes, again }));
  });
} finally {
  wire.end();
  answers.return?.();
  process.stdin.destroy();
  fs.rmSync(path.dirname(folder), { recursive: true, force: true });
}

async function until(holds, what, seconds = 20) {
  for (const end = Date.now() + seconds * 1000; !holds();) {
    assert.ok(Date.now() < end, `waited for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Copies a folder into the page's own storage. */
async function intoStorage(page, folder) {
  await page.evaluate(() => document.body.append(Object.assign(document.createElement("input"), { type: "file", id: "ferry", multiple: true })));
  await page.setInputFiles("#ferry", fs.readdirSync(folder).map((name) => path.join(folder, name)));
  await page.evaluate(async () => {
    const target = await (await navigator.storage.getDirectory()).getDirectoryHandle("checkpoint", { create: true });
    for (const file of document.querySelector("#ferry").files) {
      const stream = await (await target.getFileHandle(file.name, { create: true })).createWritable();
      await stream.write(file);
      await stream.close();
    }
  });
}
