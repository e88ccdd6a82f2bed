/** `GET /v1/usage?from&to[&namespace&deployment]`: reads the question, asks Kubernetes about the caller, passes the answer on. */
import type { Request, Response } from "express";

import { TooMuchUsage } from "../api/usage.ts";
import type { UsageQuery, UsageSource } from "../api/usage.ts";
import type { Clock } from "../ports.ts";
import type { Access, Caller } from "./access.ts";

interface UsageDeps {
  readonly source: UsageSource;
  readonly access: Access;
  readonly clock: Clock;
}

/** A question that cannot be answered: which parameter, what it said, what to write instead. */
class BadQuestion extends Error {
  readonly parameter: string;
  readonly value: string;
  constructor(parameter: string, value: string, message: string) {
    super(message);
    this.parameter = parameter;
    this.value = value.slice(0, 100);
  }
}

const longestDays = 31;
const daySeconds = 86_400;
const parameters = ["from", "to", "namespace", "deployment"] as const;
const dnsName = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

export function usageHandler(deps: UsageDeps) {
  return async function usage(request: Request, response: Response): Promise<void> {
    response.setHeader("cache-control", "no-store");
    try {
      const query = parseQuery(new URLSearchParams(request.url.split("?")[1] ?? ""), deps.clock.now());
      const caller = await callerOf(request, deps.access);
      if (!caller) return refuse(response, 401, "send a token that Kubernetes accepts: Authorization: Bearer <token>");
      const { namespace, deployment } = query;
      if (namespace !== undefined && !(await deps.access.mayGet(caller, namespace, deployment))) {
        return refuse(response, 403, refusalFor(caller, namespace));
      }
      // With a namespace the question has been answered just above, for the deployment's name where one is given.
      const mayRead = async (one: string) => one === namespace || deps.access.mayGet(caller, one, deployment);
      response.json(await deps.source(query, mayRead));
    } catch (error) {
      if (error instanceof BadQuestion) {
        const { message, parameter, value } = error;
        response.status(400).json({ error: message, parameter, value });
      } else if (error instanceof TooMuchUsage) refuse(response, 400, error.message);
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

/** Default: the UTC day of `nowMs`. */
function parseQuery(given: URLSearchParams, nowMs: number): UsageQuery {
  for (const name of given.keys()) {
    if (!parameters.some((known) => known === name)) {
      throw new BadQuestion(
        name,
        given.get(name) ?? "",
        `there is no parameter ${name.slice(0, 40)}: use ${parameters.join(", ")}`,
      );
    }
    if (given.getAll(name).length > 1)
      throw new BadQuestion(name, given.getAll(name).join(), `${name} is given twice: give it once`);
  }
  const today = Math.floor(nowMs / 1000 / daySeconds) * daySeconds;
  const from = given.has("from") ? timeOf("from", given.get("from") ?? "") : today;
  const to = given.has("to") ? timeOf("to", given.get("to") ?? "") : Math.max(from, today) + daySeconds;
  if (to <= from)
    throw new BadQuestion(
      "to",
      given.get("to") ?? "",
      "to must be later than from: windows that begin in [from, to) are listed",
    );
  if (to - from > longestDays * daySeconds) {
    const message = `from and to span more than ${longestDays} days: ask for at most ${longestDays} at a time`;
    throw new BadQuestion("from", given.get("from") ?? "", message);
  }
  return { from, to, ...nameOf(given, "namespace"), ...nameOf(given, "deployment") };
}

function timeOf(parameter: string, value: string): number {
  const form = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2}))?$/;
  const ms = form.test(value) ? Date.parse(value) : NaN;
  if (!Number.isNaN(ms)) return Math.floor(ms / 1000);
  const message = `${parameter} is not a time: write a UTC day like 2026-11-21 or an instant like 2026-11-21T10:00:00Z`;
  throw new BadQuestion(parameter, value, message);
}

function nameOf<K extends "namespace" | "deployment">(given: URLSearchParams, parameter: K): { [name in K]?: string } {
  const value = given.get(parameter);
  if (value === null) return {};
  if (!dnsName.test(value)) {
    throw new BadQuestion(
      parameter,
      value,
      `${parameter} is not a name of Kubernetes: write lower-case letters, digits and dashes`,
    );
  }
  return { [parameter]: value } as { [name in K]?: string };
}
