/** The HTTP side as a value: which paths exist depends on what is passed in, so each port shows only its own. */
import express from "express";
import type { Express, NextFunction, Request, Response } from "express";
import type { Registry } from "prom-client";

import { openApiDocument } from "../api/openapi.ts";
import type { UsageSource } from "../api/usage.ts";
import type { Clock, Log } from "../ports.ts";
import { messageOf } from "../runtime/errors.ts";
import type { Access } from "./access.ts";
import { usageHandler } from "./usage.ts";

export interface AppDeps {
  readonly log: Log;
  /** Port for probes. Alive while the event loop answers; ready when `problems` is empty. */
  readonly health?: { readonly problems: () => readonly string[] };
  readonly metrics?: { readonly registry: Registry; readonly beforeScrape?: Iterable<() => void> };
  readonly usage?: { readonly source: UsageSource; readonly access: Access; readonly clock: Clock };
}

export function createApp(deps: AppDeps): Express {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  if (deps.health) mountHealth(app, deps.health);
  if (deps.metrics) mountMetrics(app, deps.metrics);
  if (deps.usage) {
    app.get("/v1/usage", usageHandler(deps.usage));
    app.get("/v1/openapi.json", (_request, response) => void response.json(openApiDocument));
  }
  app.use((_request: Request, response: Response) => {
    response.status(404).json({ error: "there is nothing at this path" });
  });
  app.use((error: unknown, _request: Request, response: Response, next: NextFunction) => {
    if (response.headersSent) return next(error);
    deps.log.warn({ error: messageOf(error) }, "request failed");
    response.status(503).json({ error: `try again later: ${messageOf(error)}` });
  });
  return app;
}

function mountHealth(app: Express, { problems }: NonNullable<AppDeps["health"]>): void {
  app.get("/healthz", (_request, response) => void response.type("text/plain").send("ok\n"));
  app.get("/readyz", (_request, response) => {
    const found = problems();
    response.status(found.length === 0 ? 200 : 503).type("text/plain");
    response.send(found.length === 0 ? "ok\n" : `${found.join("\n")}\n`);
  });
}

function mountMetrics(app: Express, { registry, beforeScrape = [] }: NonNullable<AppDeps["metrics"]>): void {
  app.get("/metrics", async (_request, response) => {
    for (const refresh of beforeScrape) refresh();
    const text = await registry.metrics();
    response.setHeader("content-type", registry.contentType);
    response.end(text);
  });
}
