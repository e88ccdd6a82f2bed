/**
 * Which connections go through the platform's proxy, as HTTPS_PROXY, HTTP_PROXY and NO_PROXY say it everywhere. Only the administrator
 * sets them; what a tenant names is judged all the same (tunnel.ts).
 */
import { BlockList, isIP } from "node:net";
import { isWithin, networksOf } from "./address.ts";

export interface ProxySettings {
  /** `http://host:port`, perhaps with user and password; of https:// places. */
  readonly https?: string | undefined;
  /** The same of http:// places. */
  readonly http?: string | undefined;
  /** Hosts that are connected to directly: NO_PROXY's list. */
  readonly none?: string | undefined;
  /** What the proxy is asked for: the address that was judged, or the name, which the proxy then resolves by itself. */
  readonly connectBy: "address" | "name";
}

export interface ProxyServer {
  readonly host: string;
  readonly port: number;
  /** Value of Proxy-Authorization. */
  readonly authorization: string | undefined;
}

/** Where a connection is to lead. */
export interface Target {
  readonly secure: boolean;
  /** A name, or an address without brackets. */
  readonly host: string;
  readonly port: number;
}

/** What is wrong with a proxy's URL, in words that do not repeat it: it may hold a password. */
export function proxyFault(url: string): string | undefined {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const isPlain = parsed?.pathname === "/" && parsed.search === "" && parsed.hash === "";
  if (parsed?.protocol === "http:" && isPlain && parsed.hostname !== "") return undefined;
  return "is no proxy's URL: write http://host:port";
}

function serverOf(url: string | undefined): ProxyServer | undefined {
  if (url === undefined || url === "" || proxyFault(url) !== undefined) return undefined;
  const { hostname, port, username, password } = new URL(url);
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return {
    host: hostname.replace(/^\[|\]$/g, ""),
    port: Number(port) || 80,
    authorization: username === "" ? undefined : `Basic ${Buffer.from(pair).toString("base64")}`,
  };
}

/** `example.org` is itself and all below it, `.example.org` and `*.example.org` all below it, `*` everything; addresses, networks, `host:port`. */
function entryMatches(entry: string, { host, port }: Target): boolean {
  if (entry === "*") return true;
  if (entry.includes("/")) return isIP(host) !== 0 && isWithin(networksOf([entry]) ?? new BlockList(), host);
  const [, name = "", only] = /^(\[[^\]]*\]|[^:]*|[^[\]]*:[^[\]]*:[^[\]]*)(?::(\d+))?$/.exec(entry) ?? [];
  if (only !== undefined && Number(only) !== port) return false;
  const bare = name.replace(/^\[|\]$/g, "").replace(/^\*(?=\.)/, "");
  if (isIP(bare) !== 0) return isIP(host) !== 0 && isWithin(networksOf([`${bare}/${isIP(bare) === 4 ? "32" : "128"}`]) ?? new BlockList(), host); // prettier-ignore
  if (bare === "") return false;
  const [asked, below] = [host.toLowerCase().replace(/\.$/, ""), bare.startsWith(".") ? bare : `.${bare}`];
  return asked === bare || (isIP(host) === 0 && asked.endsWith(below));
}

/** The proxy on the way to a place; undefined where the way is direct. */
export function newProxyChoice(settings: ProxySettings): (target: Target) => ProxyServer | undefined {
  const [https, http] = [serverOf(settings.https), serverOf(settings.http)];
  const none = (settings.none ?? "").split(/[\s,]+/).flatMap((entry) => (entry === "" ? [] : [entry.toLowerCase()]));
  return (target) => {
    const server = target.secure ? https : http;
    return server && !none.some((entry) => entryMatches(entry, target)) ? server : undefined;
  };
}
