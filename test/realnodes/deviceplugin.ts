// A device plugin that advertises `nvidia.com/gpu` to one kubelet and gives a container mounts and environment, as
// NVIDIA's gives it devices and drivers. What it plays is the GPU; the kubelet's part is real.
import { existsSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Server, ServerCredentials, credentials, loadPackageDefinition } from "@grpc/grpc-js";
import type {
  Client,
  ServerWritableStream,
  ServiceClientConstructor,
  requestCallback,
  sendUnaryData,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const resourceName = "nvidia.com/gpu";
const endpoint = "berth-test-gpu.sock";
const kubeletCheckMs = 500;

/** A folder of the host that every container with a GPU sees, read-only. */
export interface EngineMount {
  readonly hostPath: string;
  readonly containerPath: string;
}

/** What the next container with a GPU gets. */
export interface Allocation {
  readonly mounts: readonly EngineMount[];
  readonly env: Readonly<Record<string, string>>;
}

export interface DevicePlugin {
  /** Serves, registers, and registers again with every kubelet that takes the place of this one. */
  start(): void;
  stop(): void;
  /** Says of all devices that they work or not. */
  setHealthy(healthy: boolean): void;
}

export interface DevicePluginOptions {
  /** `device-plugins` of the kubelet's root. */
  readonly dir: string;
  readonly node: string;
  readonly devices: number;
  /** Asked at each allocation. */
  readonly allocation: () => Allocation;
}

interface Devices {
  readonly devices: { readonly ID: string; readonly health: "Healthy" | "Unhealthy" }[];
}

interface AllocateRequest {
  readonly container_requests: readonly unknown[];
}

const definition = loadSync(join(dirname(fileURLToPath(import.meta.url)), "deviceplugin.proto"), { keepCase: true });
const { v1beta1 } = loadPackageDefinition(definition) as unknown as {
  v1beta1: Record<"Registration" | "DevicePlugin", ServiceClientConstructor>;
};

function register(kubeletSocket: string): Promise<void> {
  const client: Client = new v1beta1.Registration(`unix://${kubeletSocket}`, credentials.createInsecure());
  const request = { version: "v1beta1", endpoint, resource_name: resourceName };
  const send = Reflect.get(client, "Register") as (request: object, done: requestCallback<object>) => void;
  return new Promise((resolve, reject) => {
    send.call(client, request, (error) => {
      client.close();
      if (error) reject(error);
      else resolve();
    });
  });
}

function identityOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat && `${String(stat.ino)} ${String(stat.ctimeMs)}`;
}

/** Makes a plugin for one kubelet. */
export function newDevicePlugin(options: DevicePluginOptions): DevicePlugin {
  const { dir, node, devices } = options;
  const kubeletSocket = join(dir, "kubelet.sock");
  const watchers = new Set<ServerWritableStream<object, Devices>>();
  let health: "Healthy" | "Unhealthy" = "Healthy";
  let server: Server | undefined;
  let timer: NodeJS.Timeout | undefined;
  let registeredWith: string | undefined;

  const list = (): Devices => ({
    devices: Array.from({ length: devices }, (_, index) => ({ ID: `GPU-${node}-${String(index)}`, health })),
  });
  const handlers = {
    GetDevicePluginOptions: (_: unknown, done: sendUnaryData<object>) => done(null, {}),
    ListAndWatch: (stream: ServerWritableStream<object, Devices>) => {
      watchers.add(stream);
      stream.once("cancelled", () => watchers.delete(stream)).once("close", () => watchers.delete(stream));
      stream.write(list());
    },
    Allocate: ({ request }: { request: AllocateRequest }, done: sendUnaryData<object>) => {
      const { mounts, env } = options.allocation();
      const given = {
        envs: env,
        mounts: mounts.map(({ hostPath, containerPath }) => ({
          host_path: hostPath,
          container_path: containerPath,
          read_only: true,
        })),
      };
      done(null, { container_responses: request.container_requests.map(() => given) });
    },
  };
  async function serve(): Promise<void> {
    server?.forceShutdown();
    const path = join(dir, endpoint);
    rmSync(path, { force: true });
    const started = new Server();
    server = started;
    started.addService(v1beta1.DevicePlugin.service, handlers);
    await new Promise<void>((resolve, reject) => {
      started.bindAsync(`unix://${path}`, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      );
    });
  }
  // A kubelet that starts removes every socket of the folder and makes its own anew.
  async function followKubelet(): Promise<void> {
    const present = existsSync(kubeletSocket) ? identityOf(kubeletSocket) : undefined;
    if (!present || present === registeredWith) return;
    await serve();
    await register(kubeletSocket);
    registeredWith = present;
  }
  return {
    start: () => {
      let busy = false;
      const follow = (): void => {
        if (busy) return;
        busy = true;
        // A kubelet that is just starting or dying: the next round sees to it.
        void followKubelet()
          .catch(() => undefined)
          .finally(() => (busy = false));
      };
      follow();
      timer ??= setInterval(follow, kubeletCheckMs);
      timer.unref();
    },
    stop: () => {
      clearInterval(timer);
      timer = undefined;
      registeredWith = undefined;
      server?.forceShutdown();
      server = undefined;
    },
    setHealthy: (healthy) => {
      health = healthy ? "Healthy" : "Unhealthy";
      for (const stream of watchers) stream.write(list());
    },
  };
}
