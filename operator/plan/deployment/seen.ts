/** The snapshot that a ModelDeployment's plan is made from: everything that was read, nothing that was concluded. */
import type { FetchState } from "../../api/fetches.ts";
import type { GPUNodePool } from "../../api/gpunodepool.ts";
import type { ControllerRevision, Namespace, OpaqueSpec, Pod, Workload } from "../../api/kubernetes.ts";
import type { ClusterModel, Model } from "../../api/model.ts";
import type { ModelDeployment } from "../../api/modeldeployment.ts";
import type { NodeType } from "../../api/nodetype.ts";
import type { EngineImage } from "../engine/args.ts";

/** The platform's choices: chart values, equal for all deployments. */
export interface Settings {
  readonly engineImages: readonly EngineImage[];
  /** Image of Berth itself, for the init step that fetches the model. */
  readonly berthImage: string;
  /** URL of the store role as serving pods reach it. */
  readonly storeService: string;
  /** Object storage that serving pods may read from where the store role sends them there; undefined: they read through it. */
  readonly storeRedirect?: { readonly origin: string; readonly cidrs: readonly string[] };
  /** Public keys (base64 of their DER), one of which must have signed what new pods fetch; none or undefined: any manifest is taken. */
  readonly trustedModelKeys?: readonly string[];
  /** Namespace of the operator and the store role. */
  readonly operatorNamespace: string;
  /** Namespaces that may reach the serving pods beside their own, for scraping. */
  readonly metricsNamespaces: readonly string[];
  readonly shrinkStabilizationMs: number;
  readonly drainGraceMs: number;
  /** Whether node types may have caches on their nodes; absent means no. */
  readonly nodeCaches?: boolean;
}

export interface Seen {
  /** Epoch milliseconds; the only time there is. */
  readonly now: number;
  readonly deployment: ModelDeployment;
  /** API server's time of the last write of spec.replicas, epoch milliseconds; undefined where nobody's entry has it. */
  readonly replicasSetAt: number | undefined;
  readonly namespace: Namespace | undefined;
  readonly nodeType: NodeType | undefined;
  /** All that the platform has, for what to propose where the wanted one cannot serve. */
  readonly nodeTypes: readonly NodeType[];
  readonly model: Model | ClusterModel | undefined;
  /** UID of the model's namespace; "cluster" for a ClusterModel. Part of the store's path. */
  readonly modelScope: string | undefined;
  /** The pool by name, whoever it belongs to. */
  readonly pool: GPUNodePool | undefined;
  /** Sizes of all other pools of the same node type; not counted (0) where the type has no quota. */
  readonly others: { readonly total: number; readonly inNamespace: number };
  /** ControllerRevisions of this deployment, by UID label. */
  readonly revisions: readonly ControllerRevision[];
  readonly workload: Workload | undefined;
  /** The Service of the deployment's name, if it is one of Berth's. */
  readonly service: OpaqueSpec | undefined;
  /** Pods of this deployment, by UID label. */
  readonly pods: readonly Pod[];
  /** How far pods of this deployment have come with their model, by their UID; only those that said so. */
  readonly fetches: Readonly<Record<string, FetchState>>;
  /** True while another protected deployment lives in the namespace; not looked up where this one protects it. */
  readonly othersProtected: boolean;
  readonly settings: Settings;
}

/** What one ControllerRevision pins: rendered once, applied verbatim afterwards. */
export interface PinnedTemplate {
  /** Hash of the spec fields that the template depends on; a different one renders anew. */
  readonly inputsHash: string;
  readonly podTemplate: {
    readonly metadata: {
      readonly labels: Readonly<Record<string, string>>;
      readonly annotations?: Readonly<Record<string, string>>;
    };
    readonly spec: Readonly<Record<string, unknown>>;
  };
  readonly model: { readonly digest: string; readonly revision: number; readonly path: string };
  readonly engine: { readonly image: string; readonly args: readonly string[] };
  readonly capacity: {
    readonly contextLength: number;
    readonly kvCacheTokens: number;
    readonly maxConcurrency: number;
  };
  /** Absent in templates of before there was this figure. */
  readonly progressDeadlineSeconds?: number;
}

export interface CurrentRevision {
  readonly number: number;
  readonly pinned: PinnedTemplate;
}

/** The pool only if it was made for this very deployment. */
export function ownPool(seen: Pick<Seen, "deployment" | "pool">): GPUNodePool | undefined {
  return seen.pool?.spec.deploymentRef.uid === seen.deployment.metadata.uid ? seen.pool : undefined;
}

/** Every object that the API server has stored has a UID. */
export function uidOf(object: { readonly metadata: { readonly uid?: string } }): string {
  return object.metadata.uid ?? "";
}
