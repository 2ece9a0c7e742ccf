// What the upload decides: when to try again, what to send, what kind of folder it was given. Run with: node --test static/test/

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diagnose, within } from '../js/upload/folder.js';
import { leftOut } from '../js/upload/pick.js';
import { compare, findDraft, nextToSend, place, sendingOrder } from '../js/upload/plan.js';
import { backoff, decide } from '../js/upload/retry.js';
import { SpeedMeter } from '../js/upload/speed.js';

test('a dead network, a busy server and a moved offset are waited out', () => {
  for (const status of [0, 408, 409, 423, 425, 429, 500, 502, 503, 504, 507, 520]) assert.equal(decide(status), 'wait', String(status));
  assert.equal(decide(409, 'upload-offset-mismatch'), 'wait');
  assert.equal(decide(503, 'upload-stalled'), 'wait');
  assert.equal(decide(503, 'too-many-uploads'), 'wait');
});

test('an ended session gets a new token, not a new upload', () => {
  assert.equal(decide(401), 'token');
  assert.equal(decide(401, 'upload-token-invalid'), 'token');
  assert.equal(decide(403, 'csrf-invalid'), 'page');
  assert.equal(decide(403, 'forbidden'), 'refused');
});

test('what is gone, damaged, taken or sent is told apart', () => {
  assert.equal(decide(404), 'gone');
  assert.equal(decide(410, 'upload-expired'), 'gone');
  assert.equal(decide(410, 'sha256-mismatch'), 'corrupt');
  assert.equal(decide(460), 'corrupt');
  assert.equal(decide(409, 'upload-superseded'), 'taken');
  assert.equal(decide(409, 'submission-sealed'), 'sent');
  assert.equal(decide(409, 'files-incomplete'), 'incomplete');
});

test('a refusal for a person is never tried again, whatever its status', () => {
  assert.equal(decide(429, 'quota-reached'), 'refused');
  assert.equal(decide(409, 'too-many-drafts'), 'refused');
  assert.equal(decide(507, 'disk-reserve'), 'refused');
  assert.equal(decide(413, 'upload-quota'), 'refused');
  assert.equal(decide(400, 'upload-offset-missing'), 'refused');
});

test('a proxy that refuses a large body gets smaller ones; our own limit is not argued with', () => {
  assert.equal(decide(413), 'smaller');
  assert.equal(decide(413, 'upload-too-long'), 'refused');
});

test('waits grow, end at half a minute or so, and follow the server', () => {
  const waits = Array.from({ length: 12 }, (_, i) => backoff(i + 1, null, 0));
  assert.equal(waits[0], 0);
  for (let i = 1; i < waits.length; i++) assert.ok(waits[i] >= waits[i - 1]);
  assert.equal(waits.at(-1), 30000);
  assert.equal(backoff(99, null, 0.999), 44985);
  assert.equal(backoff(1, '7', 0), 7000);
  assert.equal(backoff(1, '99999', 0), 120000);
  assert.equal(backoff(3, 'Wed, 21 Oct 2026 07:28:00 GMT', 0), 2000);
});

const draft = (id, files) => ({ id, files: files.map(([name, bytes, received = 0, sha256]) => ({ name, bytes, received, sha256 })) });
const picked = [{ name: 'config.json', bytes: 10 }, { name: 'model.safetensors', bytes: 5000 }];

test('the draft of the same folder is found, the one with most bytes first', () => {
  const drafts = [
    draft('other', [['config.json', 10], ['model.safetensors', 4999]]),
    draft('less', [['config.json', 10], ['model.safetensors', 5000, 100]]),
    draft('more', [['model.safetensors', 5000, 2000], ['config.json', 10]]),
    draft('longer', [['config.json', 10], ['model.safetensors', 5000, 4000], ['recipe.yaml', 1]]),
  ];
  assert.equal(findDraft(picked, drafts).id, 'more');
  assert.equal(findDraft(picked, drafts.slice(0, 1)), null);
});

test('equal names and lengths are not enough where digests are known', () => {
  const drafts = [draft('stale', [['config.json', 10, 10, 'aa'], ['model.safetensors', 5000, 2000, 'bb']])];
  const hashed = picked.map((file, i) => ({ ...file, sha256: ['aa', 'cc'][i] }));
  assert.equal(findDraft(picked, drafts).id, 'stale');
  assert.equal(findDraft(hashed, drafts), null);
  assert.deepEqual(compare(hashed, drafts[0].files).differ, ['model.safetensors']);
});

test('what differs, what lacks and what is too much is named', () => {
  const declared = [{ name: 'a', bytes: 1 }, { name: 'b', bytes: 2 }, { name: 'c', bytes: 3 }];
  assert.deepEqual(compare([{ name: 'a', bytes: 1 }, { name: 'b', bytes: 9 }, { name: 'd', bytes: 4 }], declared), { same: false, differ: ['b'], missing: ['c'], extra: ['d'] });
});

test('three files at once, small ones first, and only what waits', () => {
  const file = (name, bytes, state = 'waiting') => ({ name, bytes, state });
  const files = [file('big', 9e9), file('tiny', 10), file('mid', 5e6), file('here', 1, 'here'), file('held', 2, 'paused'), file('small', 100)];
  assert.deepEqual(nextToSend(files).map((f) => f.name), ['tiny', 'small', 'mid']);
  files[1].state = files[5].state = 'sending';
  assert.deepEqual(nextToSend(files).map((f) => f.name), ['mid']);
  files[2].state = 'sending';
  assert.deepEqual(nextToSend(files), []);
  assert.deepEqual(sendingOrder(files).at(-1).name, 'big');
});

test('a server that says little about a file is understood', () => {
  assert.deepEqual(place({ name: 'a', upload_url: '/files/1' }), { name: 'a', url: '/files/1', bytes: null, sha256: null, received: 0, state: 'open', origin: null });
  assert.equal(place({ name: 'a', upload_url: '/files/1', received: 7, state: 'complete', origin: 'yours' }).origin, 'yours');
});

const entries = (...paths) => paths.map((path) => ({ path, file: path.endsWith('/') ? null : {} }));

test('the checkpoint is found in the folder above it', () => {
  assert.equal(diagnose(entries('config.json', 'model.safetensors', 'runs/x.log')).kind, 'checkpoint');
  const parent = entries('README.md', 'w4/config.json', 'w4/model.safetensors');
  assert.deepEqual(diagnose(parent), { kind: 'inside', folders: ['w4'] });
  assert.deepEqual(within(parent, 'w4').map((entry) => entry.path), ['config.json', 'model.safetensors']);
  assert.deepEqual(diagnose(entries('a/config.json', 'a/x.safetensors', 'b/config.json', 'b/y.safetensors')).folders, ['a', 'b']);
  assert.deepEqual(diagnose(entries('refs/main', 'snapshots/3f1/config.json', 'snapshots/3f1/model.safetensors')).folders, ['snapshots/3f1']);
});

test('what is no checkpoint is called by its name', () => {
  assert.equal(diagnose([]).kind, 'empty');
  assert.equal(diagnose(entries('.DS_Store')).kind, 'empty');
  assert.deepEqual(diagnose(entries('model.zip')), { kind: 'archive', name: 'model.zip' });
  assert.deepEqual(diagnose(entries('submission.tar.gz', 'notes.txt')), { kind: 'archive', name: 'submission.tar.gz' });
  assert.deepEqual(diagnose(entries('config.json', 'pytorch_model.bin')), { kind: 'pickle', name: 'pytorch_model.bin' });
  assert.equal(diagnose(entries('model.Q4_K_M.gguf')).kind, 'gguf');
  assert.equal(diagnose(entries('adapter_config.json', 'adapter_model.safetensors')).kind, 'adapter');
  assert.equal(diagnose(entries('photo.jpg')).kind, 'other');
  // Weights without a config, or the reverse, are for the verdict: it names what is missing.
  assert.equal(diagnose(entries('model.safetensors')).kind, 'checkpoint');
  assert.equal(diagnose(entries('config.json', 'tokenizer.json')).kind, 'checkpoint');
});

test('a subfolder left out is named once', () => {
  assert.deepEqual(leftOut(['.DS_Store', 'runs/a.log', 'runs/b.log', 'onnx/']), ['.DS_Store', 'runs/', 'onnx/']);
});

test('the time left follows slowly', () => {
  const meter = new SpeedMeter();
  assert.equal(meter.left(1000), null);
  for (let s = 0; s <= 20; s++) meter.add(s * 1000, s * 1000);
  assert.ok(Math.abs(meter.left(10000) - 10) < 0.1);
  // Ten times as fast for two seconds: the promise moves, but not to a tenth.
  meter.add(30000, 21000);
  meter.add(40000, 22000);
  const left = meter.left(10000);
  assert.ok(left < 10 && left > 5, String(left));
  meter.reset();
  assert.equal(meter.left(1000), null);
});
