/**
 * `make generate`: writes crds/*.yaml, their copies in the chart, docs/api.md and docs/conditions.md.
 * The same sources give the same bytes; a test compares them with what is committed.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { stringify } from "yaml";
import { conditionReference } from "./conditionreference.ts";
import { customResourceDefinitions } from "./crd.ts";
import type { CustomResourceDefinition } from "./crd.ts";
import { apiReference } from "./reference.ts";

const CRD_DIR = "crds";
const CHART_CRD_DIR = "charts/berth/templates/crds";

/** Path below the repository → text of every generated file. */
export function generatedFiles(): Map<string, string> {
  const files = new Map<string, string>();
  for (const crd of customResourceDefinitions()) {
    const name = `${crd.spec.names.plural}.yaml`;
    files.set(`${CRD_DIR}/${name}`, yaml(crd));
    files.set(`${CHART_CRD_DIR}/${name}`, chartTemplate(crd));
  }
  files.set("docs/api.md", apiReference(yaml));
  files.set("docs/conditions.md", conditionReference());
  return files;
}

/** Folders that hold generated files only: anything else in them is a leftover of a renamed kind. */
export const generatedFolders = [CRD_DIR, CHART_CRD_DIR] as const;

function yaml(value: object): string {
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
}

/** A template that `crds.enabled` switches and that `helm uninstall` leaves in place, with the objects of its kind. */
function chartTemplate(crd: CustomResourceDefinition): string {
  const kept = { ...crd.metadata.annotations, "helm.sh/resource-policy": "keep" };
  const body = yaml({ ...crd, metadata: { ...crd.metadata, annotations: kept } });
  return `{{- if .Values.crds.enabled }}\n${body.replaceAll("{{", '{{ "{{" }}')}{{- end }}\n`;
}

function writeAll(repository: string): void {
  const files = generatedFiles();
  for (const folder of generatedFolders) {
    mkdirSync(join(repository, folder), { recursive: true });
    for (const name of readdirSync(join(repository, folder))) {
      if (!files.has(`${folder}/${name}`)) rmSync(join(repository, folder, name));
    }
  }
  for (const [path, text] of files) {
    mkdirSync(join(repository, dirname(path)), { recursive: true });
    writeFileSync(join(repository, path), text);
  }
}

if (import.meta.main) writeAll(join(import.meta.dirname, "../.."));
