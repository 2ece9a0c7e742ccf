// The parts of the upload that need no browser. Run with: node --test static/test/

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sha256 } from '../vendor/noble-hashes@2.4.0/sha2.js';
import { createHash } from 'node:crypto';
import { duration, fillIn, percent, size } from '../js/upload/format.js';
import { choose } from '../js/upload/pick.js';
import { headerEnd } from '../js/upload/slices.js';
import { SpeedMeter } from '../js/upload/speed.js';

test('numbers read as the server writes them', () => {
  assert.equal(size(512), '512 B');
  assert.equal(size(38312), '38.31 kB');
  assert.equal(size(971176736), '971.18 MB');
  assert.equal(size(2558821288), '2.56 GB');
  assert.equal(percent(419430400, 971176736), '43.2 %');
  assert.equal(percent(1, 0), '–');
});

test('time left is calm and never nonsense', () => {
  assert.equal(duration(7.2), '8 s');
  assert.equal(duration(125), '2 min 10 s');
  assert.equal(duration(119), '2 min 00 s');
  assert.equal(duration(3900), '1 h 05 min');
  assert.equal(duration(125, 'ko'), '2분 10초');
  assert.equal(duration(Infinity), '–');
  assert.equal(duration(NaN), '–');
});

test('holes without a value stay visible', () => {
  assert.equal(fillIn('{n} of {total}', { n: 3 }), '3 of {total}');
});

test('only the files of the folder itself are part of a submission', () => {
  const entry = (path) => ({ path, file: {} });
  const { files, skipped } = choose(['recipe.yaml', '.DS_Store', 'config.json', 'runs/log.json', '.git/HEAD', 'onnx/'].map(entry));
  assert.deepEqual(files.map((file) => file.name), ['config.json', 'recipe.yaml']);
  assert.deepEqual(skipped, ['.DS_Store', 'runs/log.json', '.git/HEAD', 'onnx/']);
});

function safetensors(length, rest) {
  const head = new DataView(new ArrayBuffer(8));
  head.setBigUint64(0, length, true);
  return new Blob([head.buffer, rest]);
}

test('of a safetensors file the header is read and not the data', async () => {
  assert.equal(await headerEnd(safetensors(20n, new Uint8Array(1000))), 28);
  assert.equal(await headerEnd(safetensors(1000n, new Uint8Array(1000))), 1008);
});

test('an impossible length costs eight bytes, not memory', async () => {
  assert.equal(await headerEnd(safetensors(1001n, new Uint8Array(1000))), 8);
  assert.equal(await headerEnd(safetensors(2n ** 64n - 1n, new Uint8Array(1000))), 8);
  assert.equal(await headerEnd(new Blob([new Uint8Array(3)])), 3);
  assert.equal(await headerEnd(new Blob([])), 0);
});

test('the speed is of the last seconds and a pause does not count', () => {
  const meter = new SpeedMeter();
  assert.equal(meter.speed(), null);
  for (let s = 0; s <= 20; s++) meter.add(s * 1000, s * 1000);
  assert.ok(Math.abs(meter.speed() - 1000) < 1);
  for (let s = 21; s <= 40; s++) meter.add(20000 + (s - 20) * 5000, s * 1000);
  assert.ok(Math.abs(meter.speed() - 5000) < 1);
  meter.reset();
  meter.add(500000, 100000);
  assert.equal(meter.speed(), null);
});

test('the vendored SHA-256 agrees with the platform, in pieces too', () => {
  const data = new Uint8Array(1_000_003).map((_, i) => (i * 31) & 255);
  const hash = sha256.create();
  for (let at = 0; at < data.length; at += 65_537) hash.update(data.subarray(at, at + 65_537));
  assert.equal(Buffer.from(hash.digest()).toString('hex'), createHash('sha256').update(data).digest('hex'));
});
