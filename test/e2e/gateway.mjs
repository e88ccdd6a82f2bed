// Runs in a pod: passes `/HOST:PORT/rest` on to http://HOST:PORT/rest, as whoever lives in the cluster would ask for it.
import { createServer, request } from "node:http";
import { pipeline } from "node:stream";

createServer((asked, answer) => {
  const [, to = "", ...rest] = asked.url.split("/");
  const [host, port] = to.split(":");
  const headers = { ...asked.headers, host: to };
  const sent = request(
    { host, port, method: asked.method, path: `/${rest.join("/")}`, headers, agent: false },
    (got) => {
      answer.writeHead(got.statusCode, got.headers);
      // A connection that breaks over there breaks here.
      pipeline(got, answer, () => undefined);
    },
  );
  sent.once("error", (error) => {
    if (answer.headersSent) answer.destroy();
    else answer.writeHead(502).end(`gateway of the test: ${error.message}`);
  });
  asked.pipe(sent);
}).listen(8888, () => console.log("listening"));
