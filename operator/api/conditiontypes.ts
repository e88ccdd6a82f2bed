/** Condition types and phases of each kind, with what each means; part of docs/conditions.md. */

export type Meaning = readonly [name: string, means: string];

export const conditionTypes: Readonly<Record<string, readonly Meaning[]>> = {
  ModelDeployment: [
    [
      "Ready",
      "True only when all that the newest spec asks for is there: every serving pod runs the newest template and answers.",
    ],
    ["LicenseAccepted", "The model's licence asks for no acceptance, or it was accepted."],
    ["ModelReady", "A complete revision of the model is in the store, or serving goes on with the pinned one."],
    [
      "CapacityReady",
      "As many nodes as replicas belong to the deployment and are ready; reason and message are the pool's.",
    ],
    ["Serving", "As many pods as replicas answer with the newest template."],
    ["Reconciling", "Present and True while Berth works towards the spec by itself."],
    ["Stalled", "Present and True while only a human or a change of a spec can help."],
  ],
  GPUNodePool: [["Ready", "As many nodes as `spec.size` belong to the pool and are ready with all their GPUs."]],
  Model: [
    ["Ready", "A complete revision of the current source can be served (ClusterModel on demand: was found good)."],
    ["Reconciling", "Present and True while an import runs or will be tried again."],
    ["Stalled", "Present and True while only a change of the Model, its source or its Secret can help."],
  ],
  NodeType: [["Ready", "New nodes of this type can be had."]],
  Ledger: [
    ["Ready", "Windows are sealed as they become due; where they are not, reason and message say why."],
    ["ConditionalWrites", "The store refuses to overwrite an object, as a probe at the start of each lead has shown."],
  ],
};

export const phases: Readonly<Record<string, readonly Meaning[]>> = {
  ModelDeployment: [
    ["Creating", "Nodes are awaited; nothing serves yet."],
    ["Deploying", "The nodes are there and the pods start."],
    ["Ready", "All replicas answer with the newest template."],
    ["Scaling", "Some replicas answer while others come or go."],
    ["Updating", "Replicas of the former template are being replaced."],
    ["Suspended", "No node is held because `spec.suspend` is true."],
    ["Error", "A human or a change of a spec is needed, or pods fail; the Ready condition says which."],
    ["Deleting", "The object was deleted; pods, nodes and the closing record are being settled."],
  ],
  Model: [
    ["Preparing", "The source is being listed and inspected."],
    ["Downloading", "Files are being copied to the store."],
    ["Ready", "A complete revision can be served, or is copied at first use."],
    ["Error", "The import was refused; the Ready condition says why."],
  ],
};
