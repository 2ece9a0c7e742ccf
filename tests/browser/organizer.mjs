// An organizer's night: one grade called off, one ordered again, one submission disqualified and put back, a worker
// drained, and all of it in the audit log. The submissions and the worker are there already.
import assert from "node:assert/strict";
import { address, inBrowser } from "./steps.mjs";

const worker = process.env.ASSAY_WORKER;

await inBrowser(async (page) => {
  await page.goto(`${address}/login`);
  await page.fill("#email", "organizer@example.org");
  await page.fill("#password", "a long enough password");
  await page.click("main form button.primary");
  await page.waitForURL((url) => url.pathname !== "/login");

  const tab = (name) => page.click(`.tabs a[href='/admin/${name}']`);
  /** The row of a title's newest job. */
  const job = (title) => page.locator(`tr[data-title='${title}']`).first();
  /** Presses a row's button, gives a reason, and says yes. */
  const act = async (row, href, reason) => {
    await row.locator(`a[href*='/${href}']`).click();
    await page.fill("#reason", reason);
    await page.click("form.confirm button.danger");
    await page.locator(".notice[role=status]").waitFor();
  };
  /** Waits until the newest job of a title is in a state; the page follows by itself. */
  const inState = (title, state) =>
    page.waitForFunction(([title, state]) => document.querySelector(`tr[data-title='${title}']`)?.dataset.state === state, [title, state]);
  const standing = async (team) => {
    await page.goto(address);
    return (await page.locator(`tr[data-team='${team}'] .team .sub`).first().innerText()).trim();
  };

  // A running grade is called off; the page follows until its worker has let go.
  await page.goto(`${address}/admin`);
  await page.locator(`tr[data-worker='${worker}']`).waitFor();
  await tab("queue");
  await inState("doomed", "running");
  await act(job("doomed"), "cancel", "the team asked for it");
  await inState("doomed", "cancelled");

  // Another is graded again; while the worker has it, the worker is drained.
  await act(job("rival"), "rerun", "its worker ran hot");
  await inState("rival", "running");
  await tab("workers");
  const row = page.locator(`tr[data-worker='${worker}']`);
  await row.locator("form[action$='/drain'] button").click();
  await page.locator(`tr[data-worker='${worker}'][data-status='draining']`).waitFor();
  assert.match(await row.innerText(), /rival/, "it keeps what it has");

  // What is ordered now waits: the worker finishes and takes no more.
  await tab("queue");
  await act(job("doomed"), "rerun", "they changed their mind");
  await inState("doomed", "queued");
  await inState("rival", "succeeded");
  await tab("workers");
  await page.waitForFunction((name) => !document.querySelector(`tr[data-worker='${name}'] .work a`), worker);

  // The best of a team is disqualified: its older one stands there at once, and the page says why.
  assert.equal(await standing("Phoenix"), "better");
  await page.goto(`${address}/admin/submissions?q=better`);
  await act(job("better"), "disqualify", "weights of another team");
  assert.match(await page.locator("table.out").innerText(), /weights of another team/);
  assert.equal(await standing("Phoenix"), "older");
  await page.goto(`${address}/admin/submissions`);
  await page.locator("table.out a[href*='/reinstate']").click();
  await page.click("form.confirm button.danger");
  await page.locator(".notice[role=status]").waitFor();
  assert.equal(await standing("Phoenix"), "better");

  // All of it is written down, with who and why.
  await page.goto(`${address}/admin/audit`);
  const log = await page.locator("table.audit").innerText();
  for (const said of ["the team asked for it", "its worker ran hot", "they changed their mind", "weights of another team"]) {
    assert.ok(log.includes(said), said);
  }
  for (const action of ["submission.cancel", "submission.rerun", "submission.disqualify", "submission.reinstate", "worker.drain"]) {
    assert.ok(await page.locator(`tr[data-action='${action}']`, { hasText: "organizer@example.org" }).count(), action);
  }
  await page.fill("#action", "worker.drain");
  await page.click("form.filters button");
  await page.waitForURL(/action=worker\.drain/);
  assert.equal(await page.locator("tr[data-action]").count(), 1);
});
