/**
 * Label selectors in the API's string form, evaluated locally: a cache that is label-selected has to know whether the
 * answer of a write of ours belongs into it. Grammar: kubernetes.io/docs/concepts/overview/working-with-objects/labels.
 */

type Labels = Readonly<Record<string, string>>;

/** Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k`. Throws an Error on anything else. */
export function labelMatcher(selector: string): (labels: Labels | undefined) => boolean {
  const tests = splitRequirements(selector).map(requirement);
  return (labels = {}) => tests.every((matches) => matches(labels));
}

/** Commas inside parentheses separate values, not requirements. */
function splitRequirements(selector: string): string[] {
  return selector
    .split(/,(?![^(]*\))/)
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function requirement(text: string): (labels: Labels) => boolean {
  const set = /^(\S+)\s+(in|notin)\s*\(([^)]*)\)$/.exec(text);
  if (set) {
    const [, key = "", operator, list = ""] = set;
    const values = list.split(",").map((value) => value.trim());
    const isIn = (labels: Labels): boolean => labels[key] !== undefined && values.includes(labels[key]);
    return operator === "in" ? isIn : (labels) => !isIn(labels);
  }
  const equality = /^([^\s=!]+)\s*(=|==|!=)\s*([^\s=!]*)$/.exec(text);
  if (equality) {
    const [, key = "", operator, value = ""] = equality;
    return operator === "!=" ? (labels) => labels[key] !== value : (labels) => labels[key] === value;
  }
  const existence = /^(!?)([^\s=!(),]+)$/.exec(text);
  if (!existence) throw new Error(`cannot read the label selector ${JSON.stringify(text)}`);
  const [, not, key = ""] = existence;
  return not ? (labels) => labels[key] === undefined : (labels) => labels[key] !== undefined;
}
