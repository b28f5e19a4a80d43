; Macros of the standard library: ("std/macros" %include).
; A code argument is a list of tokens, which is inserted without its parentheses.
; Flags are 2 for true and the empty value for false, as %if takes them.

; The value of the variable `name`.
((%name heap_get)
 (name) get %macro)

; Sets the variable `name` to the value of `code`.
((%name %code heap_set)
 (name code) set %macro)

; Continues at the label `target`, an argument such as @done, if the flag is true.
((%flag @base add jump
  base: @no jump
  %target jump
  no:)
 (flag target) if %macro)

; The negative of a number that `code` pushes; it pushes it twice.
((%code %code nand 1 add)
 (code) negated %macro)

; The bitwise complement, -1 - x.
((%code %code nand)
 (code) complement %macro)

; Ends a program at a label: a label needs a token after it, and these do nothing.
(("" "" heap_set)
 () end %macro)

; Prepares %negative and %is_zero for numbers between -2^(8n) and 2^(8n), from two arguments of the
; program: `zero` is the byte 0 and then n bytes, `one` the byte 1 and then the same bytes.
;   hh  2^(8n): a byte 1, then n zero bytes
;   zz  0, of n + 1 bytes
; A number is extended to n + 1 bytes, so that its first byte is 00 or ff.
(((hh (%one %zero %zero nand add 1 add) %set)
  (zz ((hh %get) "" nand 1 add) %set)
  (hh %get) (hh %get) nand 2 heap_set
  (zz %get) 2 heap_set)
 (zero one) signs %macro)

; Flag: the number that `code` pushes is negative.
((%code (zz %get) add (hh %get) nand heap_get)
 (code) negative %macro)

; Flag: the number that `code` pushes is 0.
((%code (zz %get) add heap_get)
 (code) is_zero %macro)

; Fails with `bad jump`; the message is in the source at the place of the error.
((%message jump)
 (message) fail %macro)
