/** `GET /v1/usage` (openapi.ts): reads the question, asks Kubernetes about the caller, passes the answer on. */
import type { Request, Response } from "express";

import { BadCursor, TooMuchUsage } from "../api/usage.ts";
import type { UsageSource } from "../api/usage.ts";
import type { Clock } from "../ports.ts";
import type { Access, Caller } from "./access.ts";
import { BadQuestion, parseQuery } from "./usagequery.ts";

interface UsageDeps {
  readonly source: UsageSource;
  readonly access: Access;
  readonly clock: Clock;
}

export function usageHandler(deps: UsageDeps) {
  return async function usage(request: Request, response: Response): Promise<void> {
    response.setHeader("cache-control", "no-store");
    try {
      const query = parseQuery(new URLSearchParams(request.url.split("?")[1] ?? ""), deps.clock.now());
      const caller = await callerOf(request, deps.access);
      if (!caller) return refuse(response, 401, "send a token that Kubernetes accepts: Authorization: Bearer <token>");
      const { namespace, deployment } = query;
      if (namespace !== undefined && !(await deps.access.mayGet(caller, { name: namespace }, deployment))) {
        return refuse(response, 403, refusalFor(caller, namespace));
      }
      response.json(await deps.source(query, (one) => deps.access.mayGet(caller, one, deployment)));
    } catch (error) {
      if (error instanceof BadQuestion) {
        const { message, parameter, value } = error;
        response.status(400).json({ error: message, parameter, value });
      } else if (error instanceof TooMuchUsage || error instanceof BadCursor) refuse(response, 400, error.message);
      else throw error;
    }
  };
}

function refuse(response: Response, status: number, error: string): void {
  if (status === 401) response.setHeader("www-authenticate", 'Bearer realm="berth"');
  response.status(status).json({ error });
}

function refusalFor({ username }: Caller, namespace: string): string {
  return `user ${username} may not get modeldeployments.berth.dev in namespace ${namespace}: bind a role that allows it, for example view`;
}

async function callerOf(request: Request, access: Access): Promise<Caller | undefined> {
  const [scheme = "", token = "", ...rest] = (request.headers.authorization ?? "").split(" ");
  if (scheme.toLowerCase() !== "bearer" || token === "" || token.length > 16_384 || rest.length > 0) return undefined;
  return access.authenticate(token);
}
