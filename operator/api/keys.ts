/**
 * Every string that Berth shares with the cluster, once: group, labels, annotations, taints, finalizers, field managers.
 * Renaming one of these is a breaking change.
 */
export const GROUP = "berth.dev";
export const VERSION = "v1alpha1";
export const API_VERSION = `${GROUP}/${VERSION}`;

export const labels = {
  /** On a claimed node and on the pods that may run there; a prefix that NodeRestriction keeps kubelets from setting. Value: pool UID. */
  pool: "berth.node-restriction.kubernetes.io/pool",
  managedBy: "app.kubernetes.io/managed-by",
  name: "app.kubernetes.io/name",
  instance: "app.kubernetes.io/instance",
  /** On everything that was made for one ModelDeployment. Value: its UID. */
  deploymentUID: "berth.dev/deployment-uid",
  poolUID: "berth.dev/pool-uid",
  /** On a Namespace that holds a protected deployment; a policy refuses the Namespace's deletion. */
  deletionProtected: "berth.dev/deletion-protected",
  /** On a ClusterModel that came with Berth's catalogue; without it the object is the platform's own. */
  catalogue: "berth.dev/catalogue",
  /** On the pod that empties a node's cache. Value: the Node's UID. */
  cacheWipe: "berth.dev/cache-wipe",
  /** Set by administrators on namespaces whose pods may run on dedicated nodes (kube-system, the GPU operator's). */
  dedicatedNodes: "berth.dev/dedicated-nodes",
} as const;
export const MANAGED_BY = "berth";
/** Value of the label catalogue: the entries that Berth ships. */
export const SHIPPED_CATALOGUE = "shipped";
export const DEDICATED_NODES_EXEMPT = "exempt";

export const taints = {
  /** Value: pool UID; effects NoSchedule and NoExecute. */
  dedicated: "berth.dev/dedicated",
} as const;

export const annotations = {
  /** Hash of the last applied desired body: lets a restart skip equal writes. */
  appliedHash: "berth.dev/applied-hash",
  /** On a static Node: JSON of its last claim; stays after release. */
  lastClaim: "berth.dev/last-claim",
  /** On a static Node: JSON of the namespace whose models lie in the node's cache; no other may claim the node until they are wiped. */
  cacheOwner: "berth.dev/cache-owner",
  /** On a NodeClaim or CapacityClaim: its times repeated, for restore from backup. */
  claimTimes: "berth.dev/claim-times",
  /** On a CapacityClaim that an older state of etcd opened again: JSON of the end that the ledger knows. It goes before the status'. */
  sealedEnd: "berth.dev/sealed-end",
  /** On a ModelDeployment: any change renders the pod template anew. */
  rollout: "berth.dev/rollout",
  /** On a Secret of type berth.dev/source-credentials: the endpoints that it may be sent to, separated by commas or spaces. */
  endpoints: "berth.dev/endpoints",
  /** On a Namespace: billing accounts that its deployments may name, separated by commas. */
  billingAccounts: "berth.dev/billing-accounts",
  /** On a Model or ClusterModel: any value makes the importer look at the source again; it takes the annotation off when done. */
  refresh: "berth.dev/refresh",
  /** The same, and every byte is read and written anew as a revision of its own, whatever the store holds already. */
  reimport: "berth.dev/reimport",
  /** Pins the template of a Karpenter NodePool: hash of the fields rendered at creation. */
  templateHash: "berth.dev/template-hash",
  /** On the Lease berth-ledger-head: SHA-256 and key of the newest manifest, and the end of its window. */
  ledgerHead: "berth.dev/ledger-head",
  ledgerHeadKey: "berth.dev/ledger-head-key",
  ledgerSealedThrough: "berth.dev/ledger-sealed-through",
  /** On the same: key and SHA-256 of manifests that were about to be put, one a line, the newest first. */
  ledgerAnnounced: "berth.dev/ledger-announced",
  /** On the same: key and SHA-256 of the manifest that was the newest when a ledger was taken as it is; absent where it began empty. */
  ledgerAdopted: "berth.dev/ledger-adopted",
  /** On the Lease berth-ledger-closings: a pool's UID, a point and the digest of a closing object that was about to be put. */
  closingOf: "closing.berth.dev/",
} as const;

export const finalizers = {
  /** ModelDeployment: capacity, children and the closing record are settled before it goes. */
  deployment: "berth.dev/deployment",
  /** GPUNodePool: all nodes released. */
  pool: "berth.dev/pool",
  /** karpenter.sh NodeClaim: its end was recorded. */
  claim: "berth.dev/claim",
  /** CapacityClaim: its seconds were sealed or stand in a closing object. */
  metering: "berth.dev/metering",
  /** Model and ClusterModel: nothing in use, store emptied. */
  store: "berth.dev/store",
} as const;

export const fieldManagers = {
  /** Children and finalizers. */
  operator: "berth",
  /** Pool size, account and tags: its time in managedFields is when desired capacity changed. */
  size: "berth-size",
  /** Label, taints and last-claim of a static Node: its time in managedFields is when the node was claimed or released. */
  claim: "berth-claim",
  status: "berth-status",
  importer: "berth-importer",
  /** Progress of fetches, by the store role. */
  store: "berth-store",
  /** Entries of the catalogue; never forced, so that whoever changes a field of one keeps it. */
  catalogue: "berth-catalogue",
} as const;

export const SOURCE_CREDENTIALS_TYPE = "berth.dev/source-credentials";
/** Audience of the projected token that opens the store role. */
export const STORE_AUDIENCE = "berth-store";
export const PREFIX_NODEPOOL = "berth-";
