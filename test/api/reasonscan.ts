/** Finds in our sources, by their syntax tree, the reasons that code can set on a condition or an event. */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

export interface FoundReason {
  readonly reason: string;
  /** `file:line` below the repository. */
  readonly place: string;
  /** Set on an event only: an object beside `type: "Normal"` or "Warning". */
  readonly event: boolean;
}

type Report = (expression: ts.Expression, event: boolean) => void;

const FALLBACKS = new Set([ts.SyntaxKind.QuestionQuestionToken, ts.SyntaxKind.BarBarToken]);
const PASCAL = /^[A-Z][A-Za-z0-9]+$/;

/**
 * All reasons in the .ts files below `folders` of `repository`. Functions and classes that take a reason are looked for
 * in `declaring` too.
 */
export function scanReasons(
  repository: string,
  folders: readonly string[],
  declaring: readonly string[] = [],
): FoundReason[] {
  const sources = folders.flatMap((folder) => parseAll(repository, folder));
  const others = declaring.flatMap((folder) => parseAll(repository, folder));
  const everywhere = [...sources, ...others].flatMap((source) => reasonParameters(source));
  return sources.flatMap((source) => {
    // A file's own function comes before one of the same name elsewhere.
    const positions = new Map([...everywhere, ...reasonParameters(source)]);
    const found: FoundReason[] = [];
    visit(source, positions, (expression, event) => {
      for (const literal of literalsOf(expression)) {
        const line = source.getLineAndCharacterOfPosition(literal.getStart(source)).line + 1;
        if (PASCAL.test(literal.text)) found.push({ reason: literal.text, place: `${source.fileName}:${line}`, event });
      }
    });
    return found;
  });
}

function parseAll(repository: string, folder: string): ts.SourceFile[] {
  return readdirSync(join(repository, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .sort()
    .map((name) => {
      const path = `${folder}/${name}`;
      return ts.createSourceFile(path, readFileSync(join(repository, path), "utf8"), ts.ScriptTarget.ESNext, true);
    });
}

/** Functions with a parameter called `reason`, with its position: their callers name reasons there. */
function reasonParameters(source: ts.SourceFile): [name: string, position: number][] {
  const found: [string, number][] = [];
  const walk = (node: ts.Node): void => {
    if (ts.isFunctionLike(node)) {
      const position = node.parameters.findIndex((one) => ts.isIdentifier(one.name) && one.name.text === "reason");
      const name = nameOf(node);
      if (position >= 0 && name !== undefined) found.push([name, position]);
    }
    ts.forEachChild(node, walk);
  };
  walk(source);
  return found;
}

function nameOf(node: ts.SignatureDeclaration): string | undefined {
  if (node.name && ts.isIdentifier(node.name)) return node.name.text;
  if (ts.isConstructorDeclaration(node)) return node.parent.name?.text;
  const parent: ts.Node = node.parent;
  return ts.isVariableDeclaration(parent) && ts.isIdentifier(parent.name) ? parent.name.text : undefined;
}

function visit(node: ts.Node, positions: ReadonlyMap<string, number>, report: Report): void {
  const inEvent = (): boolean => ts.isObjectLiteralExpression(node.parent) && isEvent(node.parent);
  if (ts.isPropertyAssignment(node) && named(node.name)) report(node.initializer, inEvent());
  if (ts.isVariableDeclaration(node) && named(node.name) && node.initializer) report(node.initializer, false);
  if ((ts.isCallExpression(node) || ts.isNewExpression(node)) && ts.isIdentifier(node.expression)) {
    const argument = node.arguments?.[positions.get(node.expression.text) ?? -1];
    if (argument) report(argument, false);
  }
  ts.forEachChild(node, (child) => visit(child, positions, report));
}

const named = (name: ts.Node): boolean => ts.isIdentifier(name) && name.text === "reason";

function isEvent(object: ts.ObjectLiteralExpression): boolean {
  return object.properties.some(
    (one) =>
      ts.isPropertyAssignment(one) &&
      ts.isIdentifier(one.name) &&
      one.name.text === "type" &&
      literalsOf(one.initializer).some(({ text }) => text === "Normal" || text === "Warning"),
  );
}

/** The values that an expression can have as far as it spells them out; conditions of a choice are none. */
function literalsOf(expression: ts.Expression): ts.StringLiteralLike[] {
  if (ts.isStringLiteralLike(expression)) return [expression];
  if (ts.isParenthesizedExpression(expression) || ts.isAsExpression(expression))
    return literalsOf(expression.expression);
  if (ts.isConditionalExpression(expression)) {
    return [...literalsOf(expression.whenTrue), ...literalsOf(expression.whenFalse)];
  }
  if (ts.isBinaryExpression(expression) && FALLBACKS.has(expression.operatorToken.kind))
    return [...literalsOf(expression.left), ...literalsOf(expression.right)];
  return [];
}
