/** The flags of every role: name, argument, meaning and default. What they must look like is said in config.ts. */
export interface Option {
  readonly flag: string;
  readonly argument?: string;
  readonly about: string;
  readonly fallback?: string;
}

const option = (flag: string, argument: string, about: string, fallback?: string): Option => ({
  flag,
  argument,
  about,
  ...(fallback === undefined ? {} : { fallback }),
});

const storeAddressing = option(
  "store-addressing-style",
  "style",
  "Path for https://endpoint/bucket, VirtualHost for https://bucket.endpoint",
  "Path",
);

const fetchesConfigMap = option(
  "fetches-config-map",
  "name",
  "ConfigMap in Berth's namespace in which the store role says how far pods are with their model",
  "berth-fetches",
);

export const commonOptions: readonly Option[] = [
  option("namespace", "name", "namespace that Berth itself runs in", "berth-system"),
  option("log-level", "level", "debug, info, warn or error", "info"),
  option("kubeconfig", "file", "kubeconfig to use outside a cluster"),
  option("health-port", "port", "port of /healthz and /readyz", "8081"),
  option("metrics-port", "port", "port of /metrics", "8080"),
];

export const operatorOptions: readonly Option[] = [
  option("leader-elect", "bool", "wait for the Lease before acting; needed with more than one replica", "true"),
  option("ledger-url", "url", "s3://bucket/prefix or file:///path for sealed hours"),
  option("ledger-endpoint", "url", "S3 endpoint of the ledger; AWS when left out"),
  option(
    "ledger-signing-key-file",
    "file",
    "private Ed25519 key in PEM that signs sealed windows; read anew at each pass",
  ),
  option("ledger-region", "region", "region of the ledger's bucket", "us-east-1"),
  option(
    "ledger-shards",
    "number",
    "segments a window, by the hash of the deployment's UID; 16 for 10,000 and more",
    "1",
  ),
  option(
    "engine-images",
    "json",
    'allowed engine images, the first is the default: [{"version":"0.32.0","image":"…"}]',
  ),
  option("berth-image", "image", "image of Berth for the step that fetches the model"),
  option("store-service", "url", "store role as serving pods reach it"),
  option("store-redirect-origin", "url", "object storage that the store role may send serving pods to", ""),
  option(
    "store-redirect-cidrs",
    "cidrs",
    "networks that the object storage stands in, opened for serving pods, separated by commas",
    "",
  ),
  option(
    "trusted-model-keys",
    "keys",
    "Ed25519 public keys (base64 of their DER), one of which must have signed what new serving pods fetch, separated by commas",
    "",
  ),
  option("node-types-file", "file", "YAML list of NodeTypes that the operator applies at start"),
  option("catalogue", "bool", "apply the catalogue's entries as ClusterModels", "false"),
  option("catalogue-include", "names", "entries that are wanted, separated by commas; * for all", "*"),
  option("catalogue-exclude", "names", "entries that are not wanted, separated by commas; * for all", ""),
  option(
    "catalogue-token-secret",
    "name",
    "Secret in Berth's namespace with the hub's token for entries whose licence has to be accepted",
    "",
  ),
  option("node-caches", "bool", "let node types have caches of models on their nodes (spec.cache)", "false"),
  option("usage-port", "port", "port of the usage API", "8082"),
  option(
    "shrink-stabilization-seconds",
    "s",
    "how long fewer replicas must be wanted before nodes are given back",
    "300",
  ),
  option("drain-grace-seconds", "s", "how long a pod may finish its requests before it is ended", "600"),
  option("node-lost-seconds", "s", "how long a node may be not ready before it is replaced", "600"),
  option(
    "static-capacity-timeout-seconds",
    "s",
    "how long Karpenter may take to make NodeClaims before its feature gate is suspected",
    "60",
  ),
  option("sinks-file", "file", "JSON or YAML list of sinks that sealed hours are delivered to"),
  option("price-list-file", "file", "price list (YAML or JSON) that sinks of type focus rate sealed hours by"),
  option("window-seconds", "s", "length of a metering window", "3600"),
  option("seal-grace-seconds", "s", "how long after its end a window is sealed at the earliest", "300"),
  option("seal-spread-seconds", "s", "over how many seconds sealing is spread", "300"),
  fetchesConfigMap,
  option("metrics-namespaces", "names", "namespaces that may scrape serving pods, separated by commas", ""),
];

export const importerOptions: readonly Option[] = [
  option("store-url", "url", "s3://bucket/prefix or file:///path for imported models"),
  option("store-endpoint", "url", "S3 endpoint of the store; AWS when left out"),
  option("store-region", "region", "region of the store's bucket", "us-east-1"),
  storeAddressing,
  option("allow-http-endpoints", "bool", "let models be imported over plain http", "false"),
  option(
    "allowed-endpoint-cidrs",
    "cidrs",
    "networks besides the public ones that a model's endpoint may stand in, separated by commas",
    "",
  ),
  option("hub-endpoint", "url", "Hugging Face-compatible hub that models are read from", "https://huggingface.co"),
  option(
    "hub-redirect-hosts",
    "hosts",
    "hosts that the hub may redirect to for files, separated by commas; *.example.org for all below it",
    "huggingface.co,*.huggingface.co,*.hf.co",
  ),
  option("allow-gguf", "bool", "import GGUF files too, beside safetensors", "false"),
  option(
    "proxy-connect-by",
    "what",
    "what the proxy of HTTPS_PROXY and HTTP_PROXY is asked for: the address that was judged, or the name",
    "address",
  ),
  option(
    "manifest-signing-key-file",
    "file",
    "private Ed25519 key in PEM that signs the manifests of imported models; read anew for each import",
  ),
  option("import-concurrency", "n", "imports at once in this process", "2"),
  option(
    "server-side-copy",
    "true|false",
    "let the store's S3 service copy from sources that it holds too, where its credentials may read them",
    "false",
  ),
  option("import-buffer-mib", "MiB", "memory for parts on their way, of all imports together; 16 MiB each", "256"),
  option("import-bandwidth-mib", "MiB", "bytes a second that are asked of sources in all; 0 for no limit", "0"),
  option("progress-seconds", "s", "least time between two progress updates of one import", "5"),
  option(
    "credentials-cluster-role",
    "name",
    "ClusterRole that a tenant's RoleBinding names to let Berth read its source credentials",
    "berth-source-credentials",
  ),
  option(
    "service-account",
    "name",
    "service account that the importer runs as, named in the command that a condition prints",
    "berth-importer",
  ),
];

export const storeOptions: readonly Option[] = [
  option("store-url", "url", "s3://bucket/prefix or file:///path with imported models"),
  option("store-endpoint", "url", "S3 endpoint of the store; AWS when left out"),
  option("store-region", "region", "region of the store's bucket", "us-east-1"),
  storeAddressing,
  option("store-port", "port", "port that serving pods read from", "8090"),
  option("streams", "n", "files that are sent at once", "256"),
  option("streams-per-pod", "n", "files that are sent to one pod at once", "16"),
  option("redirects", "bool", "send serving pods to the object storage for their bytes (s3:// only)", "false"),
  fetchesConfigMap,
];

export const fetchOptions: readonly Option[] = [
  option("store", "url", "store role as this pod reaches it"),
  option("into", "folder", "folder that the model is written to"),
  option(
    "token-file",
    "file",
    "service account token of audience berth-store, read anew for each request",
    "/var/run/secrets/berth-store/token",
  ),
  option("redirect-origin", "url", "object storage that the store role may send this pod to for bytes", ""),
  option(
    "trusted-keys",
    "keys",
    "Ed25519 public keys (base64 of their DER), one of which must have signed the manifest",
    "",
  ),
  option("digest", "digest", "of the revision that must come, sha256:…; goes with --trusted-keys", ""),
  option("cache", "folder", "the node's cache of models, whose folder of this model is --into", ""),
  option(
    "cache-bytes",
    "bytes",
    "how much the cache may hold; least recently used models are removed for this one",
    "0",
  ),
  option("node-name", "name", "node that the cache belongs to"),
  option("parts-at-once", "n", "parts of 8 MiB that are read side by side; each is a part in memory", "8"),
  option(
    "patience-seconds",
    "s",
    "how long requests may fail, without a byte in between, before the fetch gives up",
    "120",
  ),
  option("progress-seconds", "s", "time between two lines of progress", "5"),
  option("termination-log", "file", "where the reason of a failure is left for the kubelet", "/dev/termination-log"),
  option("log-level", "level", "debug, info, warn or error", "info"),
];
