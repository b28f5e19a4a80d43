/**
 * Grammar of Astreum scripts and of the source of the assembler, for tree-sitter.
 *
 * Differences from the tokenizer: a `#;` before a `)` or another `#;`, and a name that ends with `#`,
 * are errors here.
 */
const OPCODES = [
  "add", "nand", "jump", "heap_get", "heap_set",
  "atom_slice", "atom_link", "atom_concat", "atom_new", "atom_load",
];
const KEYWORDS = ["def", "fn", "ref", "sk", "error"];

module.exports = grammar({
  name: "astreum",

  extras: ($) => [/\s/, $.comment, $.datum_comment],

  rules: {
    source_file: ($) => repeat($._expression),

    _expression: ($) => choice($.list, $.string, $._token),

    list: ($) => seq("(", repeat($._expression), ")"),

    string: ($) => seq('"', repeat(choice($.escape, $._text)), token.immediate('"')),
    _text: () => token.immediate(prec(1, /[^"\\]+/)),
    escape: () => token.immediate(/\\(["\\ntr]|x[0-9A-Fa-f]{2})/),

    _token: ($) =>
      choice($.keyword, $.opcode, $.placeholder, $.integer, $.macro, $.label, $.symbol),

    keyword: () => token(choice(...KEYWORDS)),
    opcode: () => token(choice(...OPCODES)),
    placeholder: () => token(/\$[0-9]+/),
    integer: () => token(/[+-]?[0-9](_?[0-9])*/),
    macro: () => token(/%[^\s();]+/),
    label: () => token(choice(/@[^\s();]+/, /[^\s()";@%][^\s();]*:/)),
    symbol: () => token(/[^\s()";#]([^\s();#]|#[^\s();])*|#([^\s();#]|#[^\s();])*/),

    comment: () => token(/;[^\n]*/),
    datum_comment: ($) => seq("#;", $._expression),
  },
});
