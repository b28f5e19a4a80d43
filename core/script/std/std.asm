; Standard library: definitions for `astreum eval --std`, `astreum repl --std` and ("std" %include).
; std.astreum is the output of the assembler for this file.
;
; Argument bytes that spell an opcode are executed by the stack machine. Every function here passes
; its arguments in a form that cannot spell one: integers through int.arg, byte strings behind a
; byte 0. Booleans are 1 and 0.

("std/macros" %include)

("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" zeros32 %const)
("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" ones32 %const)

; ---- Integers: two's complement of any width. Results are exact, but can have more bytes than
; ---- necessary; int.trim removes those.

; x, with a leading zero byte if its bytes spell an opcode: those are positive numbers.
(((x (0 x)
   ((
     "\x00add" 3 heap_set
     "\x00nand" 3 heap_set
     "\x00jump" 3 heap_set
     "\x00heap_get" 3 heap_set
     "\x00heap_set" 3 heap_set
     "\x00atom_slice" 3 heap_set
     "\x00atom_link" 3 heap_set
     "\x00atom_concat" 3 heap_set
     "\x00atom_new" 3 heap_set
     "\x00atom_load" 3 heap_set
     $1 heap_get @base add jump
     base: $0 @fin jump
     $1
     fin: %end) sk))
  (x) fn)
 int.arg def)

; a + b
((((a int.arg) (b int.arg) (($0 $1 add) sk))
  (a b) fn)
 int.add def)

; -x
((((x int.arg) ((($0 %negated)) sk))
  (x) fn)
 int.neg def)

; a - b
((((a int.arg) (b int.arg) (($0 ($1 %negated) add) sk))
  (a b) fn)
 int.sub def)

; -1, 0 or 1, as a is less than, equal to or greater than b
((((a int.arg) (b int.arg) (0 a b) (1 a b)
   ((
     ($2 $3 %signs)
     (dd ($0 ($1 %negated) add) %set)
     (((dd %get) %negative) @less %if)
     (((dd %get) %is_zero) @equal %if)
     1 @fin jump
     less: -1 @fin jump
     equal: 0
     fin: %end) sk))
  (a b) fn)
 int.cmp def)

; 1 if a = b as numbers, else 0
((((a int.arg) (b int.arg) (0 a b) (1 a b)
   ((
     ($2 $3 %signs)
     ((($0 ($1 %negated) add) %is_zero) @yes %if)
     0 @fin jump
     yes: 1
     fin: %end) sk))
  (a b) fn)
 int.eq def)

; 1 if a < b, else 0
((((a int.arg) (b int.arg) (0 a b) (1 a b)
   ((
     ($2 $3 %signs)
     ((($0 ($1 %negated) add) %negative) @yes %if)
     0 @fin jump
     yes: 1
     fin: %end) sk))
  (a b) fn)
 int.lt def)

; 1 if a <= b, else 0
((((a int.arg) (b int.arg) (0 a b) (1 a b)
   ((
     ($2 $3 %signs)
     ((($1 ($0 %negated) add) %negative) @yes %if)
     1 @fin jump
     yes: 0
     fin: %end) sk))
  (a b) fn)
 int.le def)

; The sign of x: -1, 0 or 1
(((x 0 int.cmp)
  (x) fn)
 int.sign def)

; x without its sign
((((x int.arg) (0 x) (1 x)
   ((
     ($1 $2 %signs)
     (($0 %negative) @below %if)
     $0 @fin jump
     below: ($0 %negated)
     fin: %end) sk))
  (x) fn)
 int.abs def)

; The smaller one; a if they are equal
((((a int.arg) (b int.arg) (0 a b) (1 a b)
   ((
     ($2 $3 %signs)
     ((($1 ($0 %negated) add) %negative) @yes %if)
     $0 @fin jump
     yes: $1
     fin: %end) sk))
  (a b) fn)
 int.min def)

; The larger one; a if they are equal
((((a int.arg) (b int.arg) (0 a b) (1 a b)
   ((
     ($2 $3 %signs)
     ((($0 ($1 %negated) add) %negative) @yes %if)
     $0 @fin jump
     yes: $1
     fin: %end) sk))
  (a b) fn)
 int.max def)

; a if c is not 0, else b; both are evaluated
((((a int.arg) (b int.arg) (0 c) (1 c)
   ((
     ($2 $3 %signs)
     (($2 %is_zero) @zero %if)
     $0 @fin jump
     zero: $1
     fin: %end) sk))
  (c a b) fn)
 int.choose def)

; a * b: the sum of a * 2^k over the bits k of b
((((a int.arg) (b int.arg) (0 b) (1 b)
   ((
     ($2 $3 %signs)
     (sum 0 %set)
     (aa $0 %set)
     (bb ($1 (zz %get) add) %set)
     (((bb %get) %negative) @flip %if)
     start: (mm ((zz %get) 1 add) %set)
     ; bb nand mask is all ones if the bit is clear; set after the sign is known, whose flag it is too
     (zz %get) "" nand 2 heap_set
     next: (((bb %get) heap_get) @fin %if)
     (tt ((bb %get) (mm %get) nand) %set)
     (((tt %get) heap_get) @clear %if)
     (sum ((sum %get) (aa %get) add) %set)
     ; tt is -1 - mask
     (bb ((bb %get) (tt %get) add 1 add) %set)
     clear: (aa ((aa %get) (aa %get) add) %set)
     (mm ((mm %get) (mm %get) add) %set)
     @next jump
     flip: (aa ((aa %get) %negated) %set)
     (bb ((bb %get) %negated) %set)
     @start jump
     fin: (sum %get)) sk))
  (a b) fn)
 int.mul def)

; x with as few bytes as possible
(((1 x int.mul)
  (x) fn)
 int.trim def)

; Long division: leaves the quotient in qq and the remainder in aa. Doubles bb until it exceeds aa,
; with each double on the stack as a pair of tokens for heap_set, then subtracts them in turn.
;   ss  2 if the signs were changed, to make bb positive
;   nn  2 if aa was replaced by -1 - aa, because it was negative
((($2 $3 %signs)
  (aa $0 %set)
  (bb $1 %set)
  (((bb %get) %is_zero) @zero %if)
  (((bb %get) %negative) @flip %if)
  positive: (((aa %get) %negative) @below %if)
  divide: (qq 0 %set)
  (dd (bb %get) %set)
  ee 2
  up: ((((aa %get) ((dd %get) %negated) add) %negative) @down %if)
  dd (dd %get)
  (dd ((dd %get) (dd %get) add) %set)
  @up jump
  down: heap_set
  ((ee %get) @divided %if)
  (qq ((qq %get) (qq %get) add) %set)
  (tt ((aa %get) ((dd %get) %negated) add) %set)
  (((tt %get) %negative) @down %if)
  (aa (tt %get) %set)
  (qq ((qq %get) 1 add) %set)
  @down jump
  zero: ("division by zero" %fail)
  flip: (aa ((aa %get) %negated) %set)
  (bb ((bb %get) %negated) %set)
  (ss 2 %set)
  @positive jump
  below: (aa ((aa %get) %complement) %set)
  (nn 2 %set)
  @divide jump
  divided:)
 () divide %macro)

; a / b, rounded down. If b is 0, the error `bad jump`
((((a int.arg) (b int.arg) (0 a b) (1 a b)
   ((
     %divide
     ((nn %get) @below %if)
     (qq %get) @fin jump
     below: ((qq %get) %complement)
     fin: %end) sk))
  (a b) fn)
 int.div def)

; a - b * (a / b): 0, or a number with the sign of b. If b is 0, the error `bad jump`
((((a int.arg) (b int.arg) (0 a b) (1 a b)
   ((
     %divide
     ((nn %get) @below %if)
     sign: ((ss %get) @flip %if)
     (aa %get) @fin jump
     below: (aa ((bb %get) ((aa %get) %complement) add) %set)
     @sign jump
     flip: ((aa %get) %negated)
     fin: %end) sk))
  (a b) fn)
 int.mod def)

; ---- Bits: the shorter operand is extended with zero bytes in front; results have a byte or more.

; The complement of x
((((x int.arg) ((($0 %complement)) sk))
  (x) fn)
 bits.not def)

; Bits of both a and b
((((a int.arg) (b int.arg)
   (((rr ($0 $1 nand) %set) ((rr %get) %complement)) sk))
  (a b) fn)
 bits.and def)

; Bits of a or b
((((a int.arg) (b int.arg)
   ((; all ones, as wide as the wider one
     (mm ($0 "" nand $1 "" nand add 2 add "" nand) %set)
     $0 (mm %get) nand $1 (mm %get) nand nand) sk))
  (a b) fn)
 bits.or def)

; Bits of one of a and b
((((a int.arg) (b int.arg)
   (((nn ($0 $1 nand) %set)
     $0 (nn %get) nand $1 (nn %get) nand nand) sk))
  (a b) fn)
 bits.xor def)

; ---- Byte strings

; The bytes of a, then those of b. If these spell an opcode, the program computes them: pushed as an
; argument they would be executed.
((((a b) (0 a b)
   ((
     "\x00add" @add-base heap_set
     "\x00nand" @nand-base heap_set
     "\x00jump" @jump-base heap_set
     "\x00heap_get" @heap_get-base heap_set
     "\x00heap_set" @heap_set-base heap_set
     "\x00atom_slice" @atom_slice-base heap_set
     "\x00atom_link" @atom_link-base heap_set
     "\x00atom_concat" @atom_concat-base heap_set
     "\x00atom_new" @atom_new-base heap_set
     "\x00atom_load" @atom_load-base heap_set
     $1 heap_get @base add jump
     base: $0 @fin jump
     add: "adc" 1 add @fin jump
     nand: "nanc" 1 add @fin jump
     jump: "jumo" 1 add @fin jump
     heap_get: "heap_ges" 1 add @fin jump
     heap_set: "heap_ses" 1 add @fin jump
     atom_slice: "atom_slicd" 1 add @fin jump
     atom_link: "atom_linj" 1 add @fin jump
     atom_concat: "atom_concas" 1 add @fin jump
     atom_new: "atom_nev" 1 add @fin jump
     atom_load: "atom_loac" 1 add @fin jump
     fin: %end) sk))
  (a b) fn)
 bytes.concat def)

; 1 if a and b have the same bytes, else 0
((((0 a) (0 b)
   (($0 3 heap_set
     $1 heap_get @base add jump
     base: 0 @fin jump
     1
     fin: %end) sk))
  (a b) fn)
 bytes.eq def)

; The number of bytes of x, by binary search in an atom with them
((((0 x)
   (((id (1 $0 atom_new) %set)
     (at 0 %set)
     (step 1 %set)
     ; a byte that does not exist is read as the empty value
     "" 2 heap_set
     end 2
     up: (((id %get) (step %get) 1 atom_load heap_get) @down %if)
     step (step %get)
     (step ((step %get) (step %get) add) %set)
     @up jump
     down: heap_set
     ((end %get) @fin %if)
     (to ((at %get) (step %get) add) %set)
     (((id %get) (to %get) 1 atom_load heap_get) @down %if)
     (at (to %get) %set)
     @down jump
     fin: (at %get)) sk))
  (x) fn)
 bytes.len def)

; At most 32 bytes of x from `start` on, fewer if x ends before
((((0 x) (start int.arg) (length int.arg)
   (((id (1 $0 atom_new) %set)
     (id %get)
     ; fails if start is negative, else 0
     (id %get) $1 0 atom_load
     $1 add 1 add $2 atom_load) sk))
  (x start length) fn)
 bytes.slice def)

; The byte of x at an index; empty beyond the end
(((x index 1 bytes.slice)
  (x index) fn)
 bytes.at def)

; x as a number without a sign
((((0 x) (($0) sk))
  (x) fn)
 bytes.uint def)

; ---- Atoms

; The id of a new atom with the bytes of x
((((0 x) ((1 $0 atom_new 1 9223372036854775807 atom_slice) sk))
  (x) fn)
 atom.new def)

; At most 32 bytes of an atom's data from `start` on
((((id int.arg) (start int.arg) (length int.arg) (($0 $1 $2 atom_load) sk))
  (id start length) fn)
 atom.load def)

; ---- Lists of byte strings. A list is the id of an atom with the id of the rest of the list, then the
; ---- bytes of its first value; list.empty is 32 zero bytes.

(%zeros32 list.empty def)

; The list with `value` in front
((((list value) (list int.arg)
   ((%ones32 2 heap_set
     (($1 "" nand heap_get) @good %if)
     ("not the id of a list" %fail)
     good: 1 $0 atom_new) sk))
  (list value) fn)
 list.push def)

; Pushes the value of a cell of a list, `id` being code that pushes its id.
(("" 2 heap_set
  ((%id 64 1 atom_load heap_get) @fits %if)
  ("a value of more than 32 bytes: use list.part" %fail)
  fits: %id 32 32 atom_load)
 (id) head %macro)

; The first value, of at most 32 bytes
((((list int.arg) ((($0 %head)) sk))
  (list) fn)
 list.head def)

; At most 32 bytes of the first value from `start` on
((((list int.arg) (start int.arg) (length int.arg)
   (($0
     ; fails if start is negative, else 0
     $0 $1 0 atom_load
     $1 add 32 add $2 atom_load) sk))
  (list start length) fn)
 list.part def)

; The list without its first value
((((list int.arg) (($0 0 32 atom_load) sk))
  (list) fn)
 list.rest def)

; The number of values
((((list int.arg)
   ((%zeros32 2 heap_set
     (at $0 %set)
     (count 0 %set)
     next: (((at %get) heap_get) @fin %if)
     (at ((at %get) 0 32 atom_load) %set)
     (count ((count %get) 1 add) %set)
     @next jump
     fin: (count %get)) sk))
  (list) fn)
 list.len def)

; The value at an index, of at most 32 bytes; `unknown atom` beyond the end
((((list int.arg) (index int.arg) (0 index) (1 index)
   ((($2 $3 %signs)
     (at $0 %set)
     (left ($1 (zz %get) add) %set)
     next: (((left %get) heap_get) @found %if)
     (at ((at %get) 0 32 atom_load) %set)
     (left ((left %get) -1 add) %set)
     @next jump
     found: ((at %get) %head)) sk))
  (list index) fn)
 list.at def)

; ---- Maps from byte strings to byte strings: binary trees, in which the id of an atom with the key
; ---- tells where to go. A map is the id of an atom with the id of the left tree, the id of an entry and
; ---- the id of the right tree, if there is one; map.empty is 32 zero bytes. An entry is an atom with
; ---- the id of the key and, unless it was removed, a byte 0 and the value.

(%zeros32 map.empty def)

; Starts at the map $0 with the key $1, which has a byte 0 in front.
(((at $0 %set)
  (key (1 $1 atom_new) %set)
  (mask (%zeros32 1 add) %set)
  ; the trees without entries, a bit that is clear, and the entry that is searched
  %zeros32 2 heap_set
  "" 2 heap_set
  %ones32 2 heap_set
  (key %get) 2 heap_set)
 () search %macro)

; Continues at `absent` if there is no tree, at `found` if its entry has the key, at `left` if the key
; is in the left tree, and else behind.
(((((at %get) heap_get) %absent %if)
  (entry ((at %get) 32 32 atom_load) %set)
  (((entry %get) 0 32 atom_load heap_get) %found %if)
  (((key %get) (mask %get) nand heap_get) %left %if))
 (absent found left) visit %macro)

; Finds an entry.
((%search
  next: (%absent %found @left %visit)
  (at ((at %get) 64 32 atom_load) %set)
  @below jump
  left: (at ((at %get) 0 32 atom_load) %set)
  below: (mask ((mask %get) (mask %get) add) %set)
  @next jump)
 (absent found) find %macro)

; The value of a key, of at most 32 bytes; empty if there is none
((((map int.arg) (0 key)
   (((@absent @found %find)
     absent: "" @fin jump
     found: (((entry %get) 65 1 atom_load heap_get) @fits %if)
     ("a value of more than 32 bytes: use map.part" %fail)
     fits: (entry %get) 33 32 atom_load
     fin: %end) sk))
  (map key) fn)
 map.get def)

; At most 32 bytes of the value of a key from `start` on; empty if there is none
((((map int.arg) (0 key) (start int.arg) (length int.arg)
   (((@absent @found %find)
     absent: "" @fin jump
     found: (entry %get)
     ; fails if start is negative, else 0
     (entry %get) $2 0 atom_load
     $2 add 33 add $3 atom_load
     fin: %end) sk))
  (map key start length) fn)
 map.part def)

; 1 if the key has a value, else 0
((((map int.arg) (0 key)
   (((@absent @found %find)
     found: (((entry %get) 32 1 atom_load heap_get) @absent %if)
     1 @fin jump
     absent: 0
     fin: %end) sk))
  (map key) fn)
 map.has def)

; Makes the map with the entry that ends with $2: goes down with the way on the stack, as pairs of
; tokens for heap_set, then makes the atoms of the way again, from the last to the first.
((%search
  (item (1 (key %get) atom_new 1 $2 atom_new atom_concat) %set)
  end 2
  next: (@insert @replace @left %visit)
  old (at %get) side 2
  (at ((at %get) 64 32 atom_load) %set)
  @below jump
  left: old (at %get) side ""
  (at ((at %get) 0 32 atom_load) %set)
  below: (mask ((mask %get) (mask %get) add) %set)
  @next jump
  insert: (new (1 %zeros32 atom_new 1 (item %get) atom_new atom_concat) %set)
  @up jump
  replace: (new ((at %get) 0 32 atom_slice
                 1 (item %get) atom_new atom_concat
                 (at %get) 64 32 atom_slice atom_concat) %set)
  up: heap_set
  ((end %get) @done %if)
  heap_set
  ((side %get) @right %if)
  (new (1 (new %get) atom_new (old %get) 32 64 atom_slice atom_concat) %set)
  @up jump
  right: (new ((old %get) 0 64 atom_slice 1 (new %get) atom_new atom_concat) %set)
  @up jump
  done: (new %get))
 () update %macro)

; The map with a value for the key
((((map int.arg) (0 key) (0 value)
   ((%update) sk))
  (map key value) fn)
 map.set def)

; The map without a value for the key
((((map int.arg) (0 key) ""
   ((%update) sk))
  (map key) fn)
 map.remove def)
