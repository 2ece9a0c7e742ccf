// The line between a browser and the server, in the test's hands: slow, cut, and every byte of every upload counted.
import http from "node:http";

/**
 * Stands before `target`. `rate` is bytes a second of upload bodies.
 * `seen` has, by upload address: `bytes` the body bytes that came from the browser, `offset` what the server last said, `begins` the
 * offsets PATCH requests began at, `order` the methods in order.
 */
export async function line(target, rate) {
  const { hostname, port } = new URL(target);
  const seen = new Map();
  const sockets = new Set();
  const posts = [];
  const agent = new http.Agent({ keepAlive: false });
  let budget = { at: Date.now(), bytes: 0 };

  /** Waits until `bytes` more fit into the rate, for all uploads together. */
  const turn = async (bytes) => {
    const now = Date.now();
    budget.at = Math.max(budget.at, now) + (bytes / rate) * 1000;
    if (budget.at > now) await new Promise((resolve) => setTimeout(resolve, budget.at - now));
  };

  const faults = { mostBody: Infinity, damage: false };

  const server = http.createServer(async (request, response) => {
    if (request.method === "POST") posts.push(request.url);
    const upload = request.url.startsWith("/files/") ? request.url : null;
    if (upload && Number(request.headers["content-length"] ?? 0) > faults.mostBody) {
      // As nginx does: a page of its own, the body read and thrown away.
      request.resume();
      return response.writeHead(413, { "content-type": "text/html" }).end("<h1>413 Request Entity Too Large</h1>");
    }
    const row = upload && (seen.get(upload) ?? { bytes: 0, offset: null, begins: [], order: [] });
    if (upload) {
      seen.set(upload, row);
      row.order.push(request.method);
      if (request.method === "PATCH") row.begins.push([Number(request.headers["upload-offset"]), row.offset]);
    }
    const onward = http.request({ hostname, port, method: request.method, path: request.url, headers: request.headers, agent }, (answer) => {
      if (upload && answer.headers["upload-offset"] !== undefined) row.offset = Number(answer.headers["upload-offset"]);
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    // No answer is no answer: a gateway's own error page would be another test.
    onward.on("error", () => request.socket.destroy());
    response.on("close", () => { if (!response.writableEnded) onward.destroy(); });
    try {
      for await (const chunk of request) {
        if (upload) row.bytes += chunk.length;
        if (upload) await turn(chunk.length);
        if (onward.destroyed) break;
        if (upload && faults.damage && chunk.length > 1000) {
          faults.damage = false;
          chunk[500] ^= 1;
        }
        onward.write(chunk);
      }
      onward.end();
    } catch {
      onward.destroy();
    }
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  const listen = (at) => new Promise((resolve) => { server.listen(at, "127.0.0.1", resolve); });
  await listen(0);
  const own = server.address().port;

  return {
    address: `http://127.0.0.1:${own}`,
    seen,
    posts,
    /** What the line does wrong: takes no body longer than `mostBody`; turns one bit of the next long piece when `damage` is set. */
    faults,
    /** Body bytes of all uploads. */
    get bytes() { return [...seen.values()].reduce((sum, row) => sum + row.bytes, 0); },
    /** Breaks every connection and takes no new one. */
    cut() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
    mend: () => listen(own),
    end() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
