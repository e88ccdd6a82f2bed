/**
 * Keeps Berth from being sent to places that a tenant cannot reach by itself (server-side request forgery). The host is looked
 * at before, every address of it when it is connected to: the addresses that were checked are those that are dialled.
 */
import { lookup as systemLookup } from "node:dns";
import type { LookupAddress } from "node:dns";
import { Agent as HttpAgent } from "node:http";
import type { AgentOptions } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { isIP } from "node:net";
import type { LookupFunction } from "node:net";
import { TerminalError } from "../../runtime/errors.ts";
import { addressesOf, isWithin, kindOf, networksOf } from "./address.ts";
import type { AddressKind } from "./address.ts";

export interface EgressRules {
  /** Networks besides the public ones that sources may stand in, as CIDRs. An address that hands out credentials needs its own /32 or /128. */
  readonly allowedCidrs: readonly string[];
  /** Addresses that need an entry of their own as well: the API server's. */
  readonly guarded?: readonly string[];
  /** The system's resolver where absent. */
  readonly resolve?: (host: string) => Promise<readonly LookupAddress[]>;
}

export interface EgressGuard {
  /** TerminalError EndpointNotAllowed for an address literal that may not be dialled; names are judged by `lookup`. */
  check(host: string): void;
  /**
   * For connections that somebody else dials: the addresses that a host has, each of which may be dialled. TerminalError EndpointNotAllowed
   * where one may not. A name that this resolver does not know has none where `mayBeUnknown`, unless it is one of the cluster's.
   */
  judge(host: string, options: { readonly mayBeUnknown: boolean }): Promise<readonly string[]>;
  /** For `net.connect`, `tls.connect` and agents: resolves, and fails where one of the addresses may not be dialled. */
  readonly lookup: LookupFunction;
  /** Agents that connect to nothing that this guard refuses. */
  agents(options: AgentOptions): { readonly httpAgent: HttpAgent; readonly httpsAgent: HttpsAgent };
}

const words: Readonly<Record<AddressKind, string>> = {
  public: "an address inside of the cluster",
  loopback: "a loopback address",
  private: "a private address",
  linkLocal: "a link-local address",
  metadata: "an address that hands out credentials",
  reserved: "no address of a single host",
};

/** Names that only a cluster's own DNS answers: their addresses are internal, whatever they look like. */
const internalName = /^[^.]+\.?$|\.svc\.?$|\.cluster\.local\.?$|\.local\.?$/i;

const bare = (host: string): string => host.replace(/^\[|\]$/g, "");

/**
 * What is wrong with a host's address; the address itself is not told, since names of the cluster are no tenant's to resolve.
 * `allowedCidrs` must be CIDRs: config/values.ts has checked them, and one that is none allows nothing.
 */
function faultFinder(rules: EgressRules): (host: string, address: string) => TerminalError | undefined {
  const allowed = networksOf(rules.allowedCidrs) ?? networksOf([]);
  const exact = networksOf(rules.allowedCidrs.filter((cidr) => /^[^:]+\/32$|\/128$/.test(cidr))) ?? allowed;
  const guarded = addressesOf(rules.guarded ?? []);
  return (host, address) => {
    const kind = isWithin(guarded, address) ? "metadata" : kindOf(address);
    const isInternal = isIP(host) === 0 && internalName.test(host);
    if (kind === "public" && !isInternal) return undefined;
    const list = kind === "metadata" ? exact : allowed;
    if (list && isWithin(list, address)) return undefined;
    const is = isIP(host) === 0 ? "resolves to" : "is";
    const remedy = "name a public endpoint, or ask the platform to list its network in importer.allowedEndpointCIDRs";
    return new TerminalError("EndpointNotAllowed", `${host.slice(0, 253)} ${is} ${words[kind]}: ${remedy}`);
  };
}

export function newEgressGuard(rules: EgressRules): EgressGuard {
  const fault = faultFinder(rules);

  function check(host: string): void {
    const literal = bare(host);
    const problem = isIP(literal) === 0 ? undefined : fault(literal, literal);
    if (problem) throw problem;
  }

  const resolve = rules.resolve ?? systemResolve;

  const lookup: LookupFunction = (host, options, callback) => {
    const family = options.family === 4 || options.family === "IPv4" ? 4 : options.family === 6 || options.family === "IPv6" ? 6 : 0; // prettier-ignore
    resolve(host).then(
      (found) => {
        const problem = found.map(({ address }) => fault(host, address)).find((one) => one !== undefined);
        if (problem) return callback(problem, "", 0);
        const usable = found.filter((one) => family === 0 || one.family === family);
        const [first] = usable;
        if (!first) return callback(Object.assign(new Error(`no address of ${host}`), { code: "ENOTFOUND" }), "", 0);
        return options.all ? callback(null, [...usable]) : callback(null, first.address, first.family);
      },
      (error: NodeJS.ErrnoException) => callback(error, "", 0),
    );
  };

  async function judge(host: string, { mayBeUnknown }: { readonly mayBeUnknown: boolean }): Promise<readonly string[]> {
    check(host);
    if (isIP(bare(host)) !== 0) return [bare(host)];
    const found = await resolve(host).catch((error: NodeJS.ErrnoException) => {
      if (mayBeUnknown && error.code === "ENOTFOUND" && !internalName.test(host)) return [];
      throw error;
    });
    const problem = found.map(({ address }) => fault(host, address)).find((one) => one !== undefined);
    if (problem) throw problem;
    return found.map(({ address }) => address);
  }

  return { check, judge, lookup, agents: (options) => guardedAgents({ ...options, lookup }, check) };
}

function systemResolve(host: string): Promise<readonly LookupAddress[]> {
  return new Promise((resolve, reject) =>
    systemLookup(host, { all: true }, (error, found) => (error ? reject(error) : resolve(found))),
  );
}

function guardedAgents(options: AgentOptions, check: EgressGuard["check"]): ReturnType<EgressGuard["agents"]> {
  class GuardedHttp extends HttpAgent {
    override createConnection(...args: Parameters<HttpAgent["createConnection"]>) {
      check(args[0].host ?? "");
      return super.createConnection(...args);
    }
  }
  class GuardedHttps extends HttpsAgent {
    override createConnection(...args: Parameters<HttpsAgent["createConnection"]>) {
      check(args[0].host ?? "");
      return super.createConnection(...args);
    }
  }
  return { httpAgent: new GuardedHttp(options), httpsAgent: new GuardedHttps(options) };
}
