/** Shape of one line in the tables of bad objects. */

/** Path of a field (`spec.model.name`, list items by their index) → value; undefined removes it. */
export type Edit = Readonly<Record<string, unknown>>;

/** A good sample with one edit that the API server must refuse. */
export interface BadObject {
  readonly title: string;
  readonly kind: string;
  readonly edit: Edit;
  /** `field: message` of every cause, in the server's order. */
  readonly causes: readonly string[];
}

export const bad = (kind: string, title: string, edit: Edit, ...causes: string[]): BadObject => ({
  kind,
  title,
  edit,
  causes,
});

export const long = (length: number): string => "a".repeat(length);
