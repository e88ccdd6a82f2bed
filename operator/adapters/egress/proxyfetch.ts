/** `fetch` through the platform's proxy, for places that the administrator names: a hub and its content network. */
import { Agent, ProxyAgent, fetch as undiciFetch } from "undici";
import type { Dispatcher } from "undici";
import { newProxyChoice } from "./proxy.ts";
import type { ProxySettings } from "./proxy.ts";

/** Undefined where the settings name no proxy. */
export function newProxiedFetch(settings: ProxySettings): typeof fetch | undefined {
  if (!settings.https && !settings.http) return undefined;
  const proxyOf = newProxyChoice(settings);
  const direct = new Agent();
  const proxied = new Map<string, Dispatcher>();
  const dispatcherFor = (url: URL): Dispatcher => {
    const secure = url.protocol === "https:";
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const proxy = proxyOf({ secure, host, port: Number(url.port) || (secure ? 443 : 80) });
    if (!proxy) return direct;
    const { host: name, port, authorization } = proxy;
    const uri = `http://${name.includes(":") ? `[${name}]` : name}:${String(port)}`;
    const known = proxied.get(uri) ?? new ProxyAgent({ uri, proxyTunnel: true, ...(authorization ? { token: authorization } : {}) }); // prettier-ignore
    proxied.set(uri, known);
    return known;
  };
  const throughProxy = (place: URL | string, init?: RequestInit): Promise<Response> => {
    const options = { ...init, dispatcher: dispatcherFor(new URL(place)) };
    return undiciFetch(place, options as Parameters<typeof undiciFetch>[1]) as Promise<unknown> as Promise<Response>;
  };
  return throughProxy as typeof fetch;
}
