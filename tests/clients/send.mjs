// Uploads the files of a plan with tus-js-client as any page or program would: an endpoint, retries, nothing of ours.

import { readFileSync } from 'node:fs';
import tus from 'tus-js-client';

const plan = JSON.parse(readFileSync(process.argv[2], 'utf8'));
let again = 0;

function send(file, number) {
  return new Promise((resolve, reject) => {
    new tus.Upload(readFileSync(file.path), {
      endpoint: plan.endpoint,
      headers: { authorization: `Bearer ${plan.token}` },
      metadata: { filename: file.name, sha256: file.sha256, submission: plan.submission },
      chunkSize: file.chunk,
      // Every other file sends its first bytes with the creation.
      uploadDataDuringCreation: number % 2 === 1,
      retryDelays: Array(60).fill(50),
      onShouldRetry: (error) => {
        const status = error.originalResponse?.getStatus() ?? 0;
        again += 1;
        return status < 400 || status >= 500 || status === 409;
      },
      onSuccess: resolve,
      onError: reject,
    }).start();
  });
}

const waiting = plan.files.map((file, number) => [file, number]);
async function lane() {
  for (let next = waiting.shift(); next; next = waiting.shift()) await send(...next);
}
await Promise.all(Array.from({ length: plan.parallel }, lane));
console.log(JSON.stringify({ client: 'tus-js-client', files: plan.files.length, again }));
