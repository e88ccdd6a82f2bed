// Chat templates: what real ones do passes, what leaves Jinja's sandbox or never ends is refused by name.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { MAX_TEMPLATE_BYTES, templateProblem, templatesProblem } from "../../../operator/plan/model/chattemplate.ts";

const said = (template: string): string => templateProblem("chat_template.jinja", template)?.message ?? "accepted";

const refused: readonly (readonly [string, string, RegExp])[] = [
  ["the class ladder", "{{ ''.__class__.__mro__[1].__subclasses__() }}", /private attribute __class__/],
  ["the class ladder by index", "{{ messages['__class__'] }}", /'__class__'/],
  ["a name put together", "{{ messages['__cl' ~ 'ass__'] }}", /'__class__'/],
  ["underscores as escapes", "{{ messages['\\x5f\\x5fclass\\x5f\\x5f'] }}", /private attribute/],
  ["the filter attr", "{{ messages | attr('x') }}", /filter attr/],
  ["map by a private attribute", "{{ messages | map(attribute='__class__') | list }}", /'__class__'/],
  ["one underscore", "{{ cycler._current }}", /_current/],
  ["an underscore behind white space", "{{ messages. _x }}", /_x/],
  ["lipsum", "{{ lipsum(1000000) }}", /names lipsum/],
  ["mro", "{{ x.mro() }}", /names mro/],
  ["an import", "{% import 'os' as os %}", /loads another template \(import\)/],
  ["from", "{%- from 'x' import y -%}", /\(from\)/],
  ["an include", "{%+ include 'file:///etc/passwd' %}", /\(include\)/],
  ["extends", "{% extends base %}", /\(extends\)/],
  ["a statement that hides behind a dictionary", "{{ {'a': {'b': 1}} and x.__class__ }}", /__class__/],
  ["code behind a comment", "{# }} #}{{ x.__init__ }}", /__init__/],
  ["code behind raw text", "{% raw %}{{ fine }}{% endraw %}{{ x.__init__ }}", /__init__/],
  ["a quote that closes a block in a text", "{{ '}}' ~ x.__init__ }}", /__init__/],
  ["a power", "{{ 9 ** 9 ** 9 }}", /power/],
  ["a range without end", "{% for i in range(10_000_000) %}{% endfor %}", /counts to 10000000 /],
  [
    "ranges in ranges",
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    /turns loops inside of each other 9999800001 times/,
  ],
  [
    "ranges in ranges whose ends nobody says",
    "{% for a in range(n) %}".repeat(3) + "{% endfor %}".repeat(3),
    /1000000000 times/,
  ],
  ["a second range that is far", "{% set a = range(3) | list + range(999999) | list %}", /counts to 999999/],
  [
    "a far number by a name",
    "{% set n = 10000000000 %}{% for i in range(n) %}x{% endfor %}",
    /holds the number 10000000000/,
  ],
  ["a text that is repeated", "{{ 'x' * 99999999999 }}", /holds the number 99999999999/],
  ["a text that is repeated in steps", "{{ 'x' * 9999 * 9999 }}", /repeats something 99980001 times/],
  ["a macro that calls itself", "{% macro f(x) %}a{{ f(x) }}{% endmacro %}{{ f(1) }}", /macro that never ends \(f\)/],
  [
    "macros that call each other",
    "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ g() }}",
    /macro that never ends/,
  ],
  ["nine loops in each other", "{% for a in b %}".repeat(9) + "{% endfor %}".repeat(9), /nests 9 loops/],
  ["a block that does not end", "{{ messages", /does not end/],
  ["a quote that does not end", "{{ 'messages }}", /does not end/],
  ["raw text that does not end", "{% raw %} {{ x }}", /does not end/],
  ["underscores by eight digits", "{{ messages['\\U0000005f\\U0000005fclass'] }}", /private attribute '__class'/],
  ["underscores by octal digits", "{{ messages['\\137\\137class'] }}", /private attribute '__class'/],
  ["underscores by their name", "{{ messages['\\N{LOW LINE}\\N{LOW LINE}class'] }}", /character by its name/],
  ["a letter by its name", "{{ x | map('a\\N{LATIN SMALL LETTER T}tr', 'y') }}", /character by its name/],
  ["underscores that are joined", "{{ messages['_' ~ '_class_' ~ '_'] }}", /private attribute '__class__'/],
  ["underscores that are added", "{{ messages['_' + ('_class')] }}", /'__class'/],
  ["underscores side by side", "{{ messages['_' '_class'] }}", /'__class'/],
  ["map by a path", "{{ messages | map(attribute='a.__class__') | list }}", /'a\.__class__'/],
  ["map by two paths", "{{ messages | sort(attribute='a,b.__class__') }}", /'a,b\.__class__'/],
  ["map by the filter attr", "{{ messages | map('attr', 'x') | list }}", /filter attr/],
  ["map by the filter attr in pieces", "{{ messages | map('at' ~ 'tr', 'x') | list }}", /filter attr|computed/],
  ["map by a filter that is computed", "{{ messages | map(f, 'x') | list }}", /computed/],
  ["the filter attr around text", "{% filter attr('x') %}y{% endfilter %}", /filter attr/],
  ["a ladder in a format", "{{ '{0.__class__}'.format(x) }}", /private attribute/],
  ["a ladder in a format by index", "{{ '{a[__class__]}'.format(a=x) }}", /private attribute/],
  ["mro in quotes", "{{ x['mro'] }}", /names mro/],
  ["a wide number by a filter", "{{ '%0999999999d' | format(1) }}", /999999999 characters/],
  ["a wide number by an operator", "{{ '%.999999999f' % 1.0 }}", /999999999 characters/],
  ["a wide number by a method", "{{ '{:>999999999}'.format(1) }}", /999999999 characters/],
  ["a number that is twice the bound", "{{ '%2000000d' % 1 }}", /asks for 2000000 characters/],
  ["many wide numbers", `{{ '${"%999999d".repeat(20)}' }}`, /19999980 characters/],
  ["a text that is repeated by a number of base 16", "{{ 'x' * 0xffffffffff }}", /holds the number/],
  ["a text that is repeated by a number of base 8", "{{ 'x' * 0o7777777777 }}", /holds the number/],
  ["a text that is repeated by a number of base 2", `{{ 'x' * 0b${"1".repeat(40)} }}`, /holds the number/],
  ["a text that is repeated by an exponent", "{{ 'x' * (1e12 | int) }}", /holds the number 1000000000000/],
  [
    "a text that is repeated by digits in quotes",
    "{{ 'x' * ('999999999999' | int) }}",
    /holds the number 999999999999/,
  ],
  ["digits in quotes through float", "{{ 'x' * ('9e11'\n|\tfloat | round | a) }}", /holds the number 900000000000/],
  ["digits in quotes through a map", "{{ 'x' * (['9999' '99999999'] | map('\\x69nt') | first) }}", /999999999999/],
  ["digits in quotes that are made a number aside", "{% set n = '999999999999' | int %}", /holds the number/],
  ["digits in quotes within a filter", "{% filter indent('999999999' | int) %}x{% endfilter %}", /holds the number/],
  ["digits in quotes beside a factor", "{{ 'x' * f('999999999999') }}", /holds the number/],
  ["a text that is repeated by a product", "{{ (1000000 * 1000000) * 'x' }}", /repeats something 1000000000000 times/],
  [
    "a repetition in loops",
    "{% for a in range(9999) %}{% for b in range(99) %}{{ 'x' * 99999 }}{% endfor %}{% endfor %}",
    /characters/,
  ],
  ["many repetitions", "{{ 'x' * 999999 }}".repeat(100), /characters/],
  ["loops over texts", "{% for a in 'x' * 99999 %}{% for b in 'x' * 99999 %}{% endfor %}{% endfor %}", /turns loops/],
  ["a range by another name", "{% set r = range %}{% for a in r(99999) %}{% endfor %}", /range .*without calling/],
  ["a range to a number of base 16", "{% for i in range(0xfffff) %}{% endfor %}", /counts to 1048575/],
  ["a statement behind a separator that Python takes for white space", "{%\x1cinclude 'x' %}", /\(include\)/],
  ["raw text that Python sees end", "{% raw %}{% endraw\x1c%}{{ x.__init__ }}{% raw %}{% endraw %}", /__init__/],
  ["raw text that Python sees begin", "{%\x85raw %}{{ '{% endraw %}{{ x.__init__ }}' }}", /__init__/],
  [
    "raw text that Python does not see end",
    "{% raw %}{% endraw\ufeff%}{{ '{% endraw %}{{ x.__init__ }}' }}",
    /__init__/,
  ],
  ["257 KiB", "x".repeat(MAX_TEMPLATE_BYTES + 1), /262145 bytes/],
  ["86 KiB of characters of three bytes", "あ".repeat(MAX_TEMPLATE_BYTES / 3 + 1), /more than the 262144/],
];

describe("templates that are refused", () => {
  for (const [name, template, words] of refused) {
    test(name, () => {
      assert.match(said(template), words);
      assert.match(said(template), /^the chat template in chat_template\.jinja .*: correct the template/);
    });
  }
});

const accepted: readonly (readonly [string, string])[] = [
  ["plain text", "hello"],
  ["a loop with macros and a namespace", "{%- macro f(x, y=1) -%}{{ x|tojson }}{%- endmacro -%}{% set ns = namespace(a=1) %}{% for m in messages %}{{ m['role'] + m.content | trim }}{% endfor %}"],
  ["private variables, keys and special tokens", "{% set _args = call.arguments %}{{ _args|items }}{{ fn.get('_xtml_json_block') }}{{ '<|__start__|>' }}"],
  ["keyword arguments", "{{ f(**kwargs) }}"],
  ["text that only looks like code", "{# x.__class__ #}{% raw %}{{ x.__class__ }}{% endraw %} __class__ and import os"],
  ["dictionaries in expressions", "{{ {'a': {'b': '}}'}} | tojson }}"],
  ["a range that ends", "{% for i in range(0, 100) %}{{ i }}{% endfor %}"],
  ["a range over messages in a range", "{% for i in range(messages | length) %}{% for j in range(i, 4096) %}{{ i }}{% endfor %}{% endfor %}"],
  ["a macro that follows a schema", "{% macro f(s) %}{% if s.items %}{{ f(s.items) }}{% endif %}{{ f(s.x) if s.x else '' }}{% endmacro %}{{ f(t) }}"],
  ["numbers and indents", "{{ x | tojson(indent=4) }}{{ ' ' * 4 * depth }}{{ 1024 }}{{ 3.14159265358979 }}"],
  ["names, escapes and lists that are joined", "{{ '\\n' + 'a_' ~ 'b' }}{{ x | map('trim') | join('_') }}{{ m | map(attribute='function.name') | list }}{{ 'C:\\\\N{x}' }}"],
  ["formats", "{{ '%s: %5.2f' | format(a, b) }}{{ '{:>8}{}'.format(a, b) }}{{ '100% of {a: b} in 1234567890 s' }}"],
  ["examples in JSON", `{{ '{"id": 1234567890, "name": "__init__", "tel": "5551234567"}' }}{{ '2024' | int }}`],
  ["digits in quotes", "{% if c in '0123456789' %}{% set date_string = '20250115' %}{{ tool_call_id | default('1234567890') }}{% endif %}{{ x | int }}"],
  ["a filter by name behind blanks and over lines", "{{ x | map( 'trim' ) | map(\n attribute = 'id' ) | join }}"],
  ["raising and dates", "{{ raise_exception('no') }}{{ strftime_now('%d %b %Y') }}"],
]; // prettier-ignore
describe("templates as models have them", () => {
  for (const [name, template] of accepted) test(name, () => assert.equal(said(template), "accepted"));
});

test("templates in fields are read in each of their forms", () => {
  const bad = "{{ x.__class__ }}";
  for (const field of [bad, [{ name: "default", template: bad }], { default: bad }])
    assert.equal(templatesProblem("tokenizer_config.json", { chat_template: field })?.reason, "ChatTemplateUnsafe");
  for (const field of [undefined, null, 7, [], [7], [{ template: 7 }], "{{ x }}"])
    assert.equal(templatesProblem("tokenizer_config.json", { chat_template: field }), undefined);
});

test("however a dunder is written beside code, it is found; and no template takes long", () => {
  const piece = fc.constantFrom("{{", "}}", "{%", "%}", "{#", "#}", "'", '"', "\\", "{", "}", " x ", "raw", "endraw");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
      const template = pieces.join("");
      assert.ok(said(template).length < 400);
      // In front of everything else nothing can hide it.
      assert.match(said(`{{ x.__class__ }}${template}`), /__class__|does not end/);
    }),
  );
});
