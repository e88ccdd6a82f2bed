/**
 * The closed set of condition reasons, per kind: each with what it means and what the user should do.
 * docs/conditions.md is generated from it (`make generate`); a test holds plans, reasons and docs together.
 * To add one, append a line to the list of its kind. One table, however long: it is read and searched as a whole.
 */

/** [what it means, what to do about it]. */
export type ReasonText = readonly [means: string, remedy: string];
type ReasonList = Readonly<Record<string, ReasonText>>;

const NOTHING = "Nothing.";
const WAIT = "Wait; the message says how far it has come.";

/** Set on ModelDeployments; those of its pool are copied into `CapacityReady` with the pool's message. */
export const modelDeploymentReasons = {
  Accepted: ["The licence that the model requires acceptance of was accepted.", NOTHING],
  NotRequired: ["The model asks for no acceptance of a licence.", NOTHING],
  AcceptanceRequired: [
    "The model's licence has to be accepted first.",
    "Read the licence and set spec.acceptLicense to its name, which the message has.",
  ],
  Imported: ["A complete revision of the model is in the store.", NOTHING],
  Importing: ["The model is being inspected or copied.", WAIT],
  ImportFailed: [
    "The importer refused or cannot read the model.",
    "Look at the Model's Ready condition, whose words the message repeats.",
  ],
  ModelNotFound: ["The Model or ClusterModel does not exist.", "Create it, or correct spec.model."],
  RevisionNotFound: [
    "No imported revision has the digest of spec.model.revision.",
    "Take one of the Model's status.revisions, or leave the field out.",
  ],
  ModelDeleted: [
    "The model is gone, and serving goes on with the pinned revision.",
    "Create the model again before the next change of the spec.",
  ],
  ModelBeingDeleted: [
    "The model is being deleted and stays while this deployment uses it.",
    "Change spec.model, or delete the deployment.",
  ],
  Pinned: [
    "Serving goes on with an earlier revision, though the model has a problem now.",
    "Look at the Model's Ready condition.",
  ],
  NodeTypeNotFound: [
    "The NodeType does not exist.",
    "Ask the platform for it, or create a deployment with one of `kubectl get nodetypes`.",
  ],
  NodeTypeDisabled: [
    "The platform gives out no new nodes of this NodeType.",
    "Create a deployment with another node type.",
  ],
  NodeCacheDisabled: [
    "The NodeType has a cache, and the installation does not allow caches on nodes.",
    "The platform sets the chart's `nodeCaches.enabled`, or takes `spec.cache` off the NodeType.",
  ],
  EngineVersionNotOffered: [
    "spec.engine.version is not in the administrator's list of engine images.",
    "Take one of the versions that the message lists.",
  ],
  EngineArgumentRefused: [
    "spec.engine.extraArgs or a parser's name holds something that this engine version lacks or that is forbidden.",
    "Follow the message, which names the flag, why it is refused and what to set instead.",
  ],
  EngineArgumentConflict: [
    "spec.engine.extraArgs sets what Berth derives from the model and the node, or more than was planned for.",
    "Follow the message, which names the flag and the field to set instead.",
  ],
  EngineVariableRefused: [
    "spec.engine.env holds a name that this engine version lacks, or one that may not be set.",
    "Follow the message, which names the variable and why it is refused.",
  ],
  AccountNotAllowed: [
    "The namespace may not book on spec.billing.account.",
    "Ask an administrator to allow it with the annotation berth.dev/billing-accounts on the namespace.",
  ],
  DoesNotFit: [
    "Weights and a minimal KV cache exceed the memory of one node's GPUs.",
    "Take a larger node type or a smaller or quantized model.",
  ],
  ContextTooLong: [
    "spec.contextLength is more than the model was made for or the node can hold.",
    "Lower it to the number in the message.",
  ],
  QuotaExceeded: [
    "The NodeType's quota, in total or for the namespace, leaves no room.",
    "Ask for fewer replicas, or ask the platform for more quota.",
  ],
  PreviousPoolRemains: ["The pool of an earlier deployment of this name is still being released.", WAIT],
  PoolBeingDeleted: ["The pool was deleted by hand; its nodes are released and a new pool follows.", WAIT],
  ShrinkStabilizing: ["Fewer nodes are wanted; they are given back after the stabilization time.", NOTHING],
  Draining: ["Pods finish their requests before their nodes are given back.", WAIT],
  Suspended: ["spec.suspend is true: no node is held, nothing is billed.", "Set spec.suspend to false to serve again."],
  WaitingForTemplate: ["The pod template is rendered when the model and the nodes are known.", WAIT],
  PodsStarting: ["Pods load the model and do not answer yet.", WAIT],
  ReplicaStarted: [
    "A replica answers for the first time; the message says how long each phase of its start took.",
    NOTHING,
  ],
  Updating: ["Pods of the former template are still there.", WAIT],
  PodFailing: ["A container crashes, or its image cannot be had.", "Follow the words of the container in the message."],
  SignatureInvalid: [
    "A pod refuses the model: its manifest in the store lacks a good signature of a trusted key, or is another revision's.",
    "Ask the platform why the store holds it; then import the model again with a trusted key (berth.dev/reimport), and set berth.dev/rollout.",
  ],
  PodsRefused: [
    "The API server refuses the deployment's pods: a ResourceQuota, pod security or another admission policy.",
    "Follow the API server's words in the message.",
  ],
  PodUnschedulable: ["The scheduler finds no place for a pod.", "Follow the scheduler's words in the message."],
  AllReplicasServing: ["Every replica answers with the newest template.", NOTHING],
  Serving: ["Everything that the deployment asks for is there and current.", NOTHING],
  NameTaken: [
    "A Service of the deployment's name exists and is not Berth's.",
    "Delete that Service, or give the deployment another name.",
  ],
  WriteRefused: [
    "The API server refuses an object that Berth writes for the deployment.",
    "Follow the server's words in the message; a policy or webhook of the cluster is the usual cause.",
  ],
  Deleting: ["The deployment is being deleted: pods, nodes and the closing record in this order.", WAIT],
} as const satisfies ReasonList;

/** Set on GPUNodePools. */
export const gpuNodePoolReasons = {
  NodesReady: ["Every node wanted belongs to the pool and is ready with all its GPUs.", NOTHING],
  Provisioning: ["Nodes are being claimed, bought or started.", WAIT],
  OutOfStock: [
    "The provider has no further node of this type now.",
    "Wait for capacity, lower replicas, or take another node type; the message has the provider's words.",
  ],
  ForeignPods: [
    "The only free nodes carry pods of others.",
    "Ask the platform to drain the nodes that the message names.",
  ],
  NodeNotReady: [
    "A node of the pool is not ready, or lacks GPUs.",
    "Wait; past the node-lost time a node that is not ready is replaced. One that is ready but lacks GPUs is kept: mend its device plugin, or delete the node. The message names it.",
  ],
  NodeLost: ["A node was not ready for the node-lost time; its claim ended and another is wanted.", WAIT],
  KarpenterNotInstalled: [
    "The NodeType needs Karpenter, whose CRDs are not in the cluster.",
    "Ask the platform to install Karpenter, or take a static node type.",
  ],
  StaticCapacityNotActing: [
    "Karpenter took the NodePool but makes no NodeClaims.",
    "Ask the platform to start Karpenter with the feature gate StaticCapacity=true.",
  ],
  ProviderError: ["The provider refuses for another reason.", "Follow the provider's words in the message."],
  Draining: ["The pool shrinks or goes, and waits for the pods on its nodes.", WAIT],
  Released: [
    "The pool holds no node any more; its closing record is not in the ledger yet.",
    "Follow the ledger's words in the message.",
  ],
} as const satisfies ReasonList;

/** Set on Models and ClusterModels. */
export const modelReasons = {
  Imported: ["A complete revision is in the store.", NOTHING],
  Recorded: [
    "The sizes are the catalogue's own; the source was not asked yet.",
    "Wait, or see why the source does not answer.",
  ],
  Inspected: ["The files were found good; they are copied when the first deployment names the model.", NOTHING],
  Listing: ["The source's files are being listed.", WAIT],
  Inspecting: ["Configuration and tensor headers are being read.", WAIT],
  Copying: ["The files are being copied to the store.", "Wait; status.progress tells bytes and the time left."],
  Resumed: ["An import went on where an earlier attempt had ended.", NOTHING],
  ChecksumsUnknown: [
    "The source does not say what checksums it states of a file, or fails whenever it is asked; its bytes are hashed, but compared with nothing of its own.",
    "Let the credentials ask for the object's head (s3:GetObject), or put a SHA256SUMS beside the model.",
  ],
  NewRevision: [
    "The source changed: a new revision stands beside the old one, which its deployments keep.",
    "Nothing; a deployment takes it when one of its template's fields changes.",
  ],
  CatalogueNameTaken: [
    "The catalogue has an entry of this name, but the ClusterModel is not of the catalogue and stays as it is.",
    "Exclude the entry with the chart's value catalogue.exclude, or delete the ClusterModel to get the entry.",
  ],
  CatalogueEntryChanged: [
    "Somebody changed fields of an entry of the catalogue, which keeps them and is not updated any more.",
    "Nothing, or delete the ClusterModel to get the entry back.",
  ],
  CatalogueEntryInUse: [
    "An entry is not wanted any more but deployments still use it; it is removed when they are gone.",
    "Change or delete the deployments that the message names.",
  ],
  InUse: [
    "The model is being deleted, but deployments still use a revision of it.",
    "Delete or change the deployments that the message names.",
  ],
  Deleting: ["The model's files are being removed from the store.", WAIT],
  SecretNotFound: [
    "The Secret of credentialsSecretRef does not exist.",
    "Create it in the Model's namespace (a ClusterModel's: in the operator's namespace).",
  ],
  SecretTypeWrong: [
    "The Secret is not of the type berth.dev/source-credentials.",
    "Create a Secret of that type; others are never read.",
  ],
  SecretInvalid: ["The Secret lacks accessKeyId or secretAccessKey.", "Set both keys."],
  EndpointNotAllowed: [
    "The Secret does not list the endpoint, or the endpoint is not one that may be contacted.",
    "Add the endpoint to the Secret's annotation berth.dev/endpoints, or correct it.",
  ],
  SecretNotReadable: [
    "Berth has no right to read Secrets in this namespace.",
    "Run the command in the message, which creates the RoleBinding.",
  ],
  AccessDenied: [
    "The source refuses the credentials.",
    "Correct the keys, or the bucket's policy; the message has the source's words. A bucket whose readers pay needs spec.source.s3.requesterPays.",
  ],
  BucketNotFound: ["The bucket does not exist at this endpoint.", "Correct spec.source.s3.bucket or endpoint."],
  SourceUnreachable: ["The endpoint does not answer.", "Correct the endpoint, or wait; the import is tried again."],
  SourceChanged: ["Files changed while they were read.", "Wait; the import starts again with the new files."],
  ChecksumMismatch: [
    "A copied file does not have the SHA-256 that the source states for it.",
    "Wait; it is copied again. Where it stays so, the source or the way to it is damaged.",
  ],
  RepoInvalid: ["The name of the repository or revision is none.", "Write spec.source.huggingFace.repo as org/name."],
  RepoNotFound: [
    "The hub has no such repository, or shows it to others only.",
    "Correct spec.source.huggingFace.repo, or name a Secret with a token that may read it.",
  ],
  RevisionMissing: ["The repository has no such branch, tag or commit.", "Correct spec.source.huggingFace.revision."],
  NoFiles: ["No file stands below the prefix.", "Correct spec.source.s3.bucket and prefix."],
  TooManyFiles: [
    "More objects stand below the prefix than one model has, or their names are longer than a manifest holds.",
    "Point the prefix at one model's folder, or shorten the names.",
  ],
  TooLarge: ["The files together exceed spec.maxSize or the platform's bound.", "Raise spec.maxSize, or import less."],
  ListingInvalid: [
    "The source's listing cannot be that of a bucket: it has no end, repeats keys, names sizes that are none or words too long for any server.",
    "Check spec.source.s3.endpoint: what answers there is no S3 server.",
  ],
  OddKey: ["A key is no safe file name.", "Rename or remove the object that the message names."],
  CustomCode: [
    "The model brings code of its own, which is never run.",
    "Use a model without *.py and auto_map; of a hub, one whose code the engine does not need.",
  ],
  ChatTemplateUnsafe: [
    "A chat template exceeds 256 KiB, or does what the engine's sandbox refuses.",
    "Correct the template in the file that the message names.",
  ],
  WeightsMissing: [
    "In place of weights stands an empty object, a link or a pointer of Git LFS, or a layer that modules.json names has none.",
    "Upload the file that the message names itself.",
  ],
  UnsafeFormat: ["The weights are in a format that can carry code, such as pickle.", "Convert them to safetensors."],
  NotSafetensors: ["There are no safetensors weights.", "Convert the weights to safetensors, or correct the prefix."],
  ConfigMissing: [
    "There is no config.json.",
    "Point the prefix at the folder that holds it; Mistral's own layout, without one, is not supported.",
  ],
  ConfigInvalid: ["config.json or a file like it cannot be read.", "Correct the file that the message names."],
  TokenizerMissing: ["There is no tokenizer beside the weights.", "Add one of the files that the message names."],
  IndexInvalid: ["The index of the shards does not agree with the files.", "Upload the model again, completely."],
  SafetensorsInvalid: ["A safetensors header is broken.", "Upload the file that the message names again."],
  ArchitectureUnsupported: [
    "vLLM, or the deployment's version of it, does not serve this architecture.",
    "Use a model of a listed architecture, or the engine version that the message names.",
  ],
  ArchitectureRemoved: [
    "vLLM no longer serves this architecture.",
    "Use another model, or an engine of the version that the message names.",
  ],
  StoreError: ["The platform's store refuses or fails.", "Ask the platform; the import is tried again."],
  StoreFull: [
    "The folder or volume of the platform's store has no room for the model.",
    "Ask the platform to make room or to give the store a larger volume; the import then goes on by itself.",
  ],
  EndpointRedirects: [
    "The endpoint redirects to another place, and redirects are never followed.",
    "Set spec.source.s3.endpoint and region to the place that the message names.",
  ],
  SourceError: [
    "The source answers with an error that has nothing to do with the credentials.",
    "Look at the source's own words in the message; the import is tried again.",
  ],
} as const satisfies ReasonList;

/** Set on NodeTypes. */
export const nodeTypeReasons = {
  Available: ["Nodes of this type can be had.", NOTHING],
  LowStock: ["Few nodes of this type are left.", "Add nodes, or expect that large deployments wait."],
  OutOfStock: [
    "No node of this type can be had now.",
    "Add nodes, or raise the provider's quota; the message has the provider's words.",
  ],
  Unknown: ["Nobody has asked the provider for this type yet.", NOTHING],
  Disabled: ["spec.disabled is true: no new node is given out.", "Set spec.disabled to false to offer the type again."],
  KarpenterNotInstalled: [
    "The type needs Karpenter, whose CRDs are not in the cluster.",
    "Install Karpenter, or use provider.static.",
  ],
  InUse: [
    "The type is being deleted while pools still use it; they keep their pinned shape.",
    "Delete the deployments of the type, or create the NodeType again.",
  ],
} as const satisfies ReasonList;

/** `Ready` also carries the reasons of operatorReasons, where one of those is why nothing is sealed. */
export const ledgerReasons = {
  Sealing: ["Windows are sealed as they become due.", NOTHING],
  SealingFailed: [
    "Several passes of the sealer failed one after the other, for a reason that may pass.",
    "Follow the words in the message; sealing is tried again all the time, and loses nothing meanwhile.",
  ],
  OverwritesRefused: ["The store refused the second write of a probe.", NOTHING],
  LedgerUnconditional: [
    "The store overwrites objects despite If-None-Match: each is looked for before it is written, which two writers at one moment can defeat.",
    "Use a store that honours conditional writes.",
  ],
} as const satisfies ReasonList;

/** Errors that are no object's own: in the operator's log and, where it cannot start, in its last words. */
export const operatorReasons = {
  NodeRestrictionOff: [
    "The API server lets a kubelet set node-restriction.kubernetes.io labels on itself, so a captured node could join another tenant's pool.",
    "Start kube-apiserver with --enable-admission-plugins=NodeRestriction.",
  ],
  CacheWiped: ["A node's cache was emptied, so that another namespace may use the node.", NOTHING],
  CacheKept: [
    "A node's cache could not be emptied, so the node stays with its namespace.",
    "Follow the message; an administrator may empty the folder and take the annotation berth.dev/cache-owner off the node.",
  ],
  InvalidNodeTypesFile: ["An entry of the node types file is no NodeType.", "Correct the chart's list of node types."],
  LedgerKeyUnusable: [
    "The key that signs sealed hours is no Ed25519 key in PEM.",
    "Put one into the Secret of metering.signing: openssl genpkey -algorithm ed25519.",
  ],
  LedgerURLInvalid: ["--ledger-url is neither s3:// nor file:///.", "Correct the chart's ledger URL."],
  LedgerCredentialsMissing: [
    "An S3 ledger was named without credentials.",
    "Name the Secret with both keys in the chart's values.",
  ],
  LedgerBucketMissing: ["The ledger's bucket does not exist.", "Create it, or correct the ledger URL."],
  LedgerAccessDenied: [
    "The ledger refuses access to its bucket or directory.",
    "Correct the keys, the bucket's policy or the directory's owner.",
  ],
  LedgerOverwrites: [
    "The ledger's store lets a sealed object be written over.",
    "Use a store that honours If-None-Match: *.",
  ],
  LedgerHeadForeign: [
    "The ledger's newest windows are not those that this cluster sealed last; nothing is sealed.",
    "Run berth ledger verify and restore the ledger, or delete the Lease berth-ledger-head to take it as it is.",
  ],
  LedgerClusterForeign: [
    "Another cluster seals into this ledger; nothing is sealed.",
    "Give each cluster a place of its own: set ledger.url to a fresh bucket, prefix or directory.",
  ],
  LedgerSegmentForeign: [
    "A segment that is not what Berth writes lay in the ledger before its window was sealed; nothing is sealed.",
    "Move the object that the message names out of the ledger: no manifest names it and nobody has read it. Where metering.shards or the length of windows was changed, set that back until it is sealed.",
  ],
  LedgerClosingForeign: [
    "What lies in the ledger for a pool that is gone was not left by this cluster's operator; nothing is sealed.",
    "After a cluster was set back, or an older Berth ran in between, delete the Lease berth-ledger-closings: what is there is taken as it is. Where nobody of yours left the object that the message names, move it out of the ledger.",
  ],
  LedgerChainBroken: [
    "Retention found a window that is not chained to the one before.",
    "Run berth ledger verify; nothing was removed.",
  ],
  LedgerKeyInvalid: ["A name that is none of the ledger's was asked for.", "Report it: this is a fault of Berth."],
  LedgerObjectMissing: [
    "A sealed object is gone from the ledger.",
    "Restore it from the bucket's versions or a backup.",
  ],
  LedgerObjectDamaged: [
    "An object of the ledger does not hold what was written.",
    "Restore it from the bucket's versions or a backup; sealing waits meanwhile.",
  ],
} as const satisfies ReasonList;

export type ModelDeploymentReason = keyof typeof modelDeploymentReasons;
export type GPUNodePoolReason = keyof typeof gpuNodePoolReasons;
export type ModelReason = keyof typeof modelReasons;
export type NodeTypeReason = keyof typeof nodeTypeReasons;
