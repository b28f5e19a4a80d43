(comment) @comment
(datum_comment) @comment
(string) @string
(escape) @string.escape
(integer) @number
(keyword) @keyword
(opcode) @function.builtin
(placeholder) @variable.parameter
(macro) @function.macro
(label) @label
(symbol) @variable
["(" ")"] @punctuation.bracket
