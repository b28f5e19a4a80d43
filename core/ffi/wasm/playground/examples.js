// Programs and a proof to start with.

export const EXAMPLES = [
    {
        name: "Function",
        source: `; The last item of a list is what the others are
; passed to. (body sk) is a stack program, and
; (body (names) fn) a function.
(((a b (($0 $1 add) sk)) (a b) fn) int.add def)

((1 2 int.add)
 (40 2 int.add)
 ("hello" ()))
`,
    },
    {
        name: "Loop on the heap",
        source: `; Counts to 5. A jump goes to a token by its index.
; A key that the heap does not have reads as 0: the
; loop goes on until the heap has a target for i.
(0 ((
    5 13 heap_set               ; 0: at 5, go to 13
    i i heap_get 1 add heap_set ; 3: i = i + 1
    i heap_get heap_get jump    ; 9: target for i
    i heap_get                  ; 13
) sk))
`,
    },
    {
        name: "Error with its place",
        source: `; The place of an error is shown with carets.
((40 2 (($0 add $1) sk))
 (1 2 int.ad)
 "the list goes on")
`,
    },
    {
        name: "Atoms",
        source: `; Creates two atoms, joins their data in a third one,
; and reads 12 bytes of that.
(1 ((
    1 "Hello, "  atom_new
    1 "world"    atom_new
    atom_concat
    0 12 atom_load
) sk))
`,
    },
    {
        name: "Missing atom",
        source: `; No atom with this id is here: an error for the
; program, and a result for the host.
((0xf794f3fc7bb7251d00d972ed8e16407c1111a671adcdcbf8fae61fc7a9c45e14 ref)
 "goes on")
`,
    },
    {
        name: "Meter",
        source: `; Each addition costs the length of its operands.
; Lower the meter limit to 10 and run it again.
(((x (($0 $0 add) sk)) (x) fn) double def)
((((((1 double) double) double) double) double) double)
`,
    },
    {
        name: "Endless loop",
        source: `; Ends at the step limit or the meter limit,
; whichever comes first.
(1 ((0 jump) sk))
`,
    },
];

/** Root of a trie with the keys alpha, beta, delta, gamma and omega. */
const ROOT = "09b13d50e7403d98c94cc6cca0f17f5b51654c1c54773d33e775746acdfe618a";

/** Proofs of one key that the trie has, and of one that it does not have. */
export const PROOFS = {
    present: {
        root: ROOT,
        key: "gamma",
        proof:
            "0000002525a0a6a0c209e413d7d2e4601ed308ed403e1714c247aa857aa3fdde21727e7600747269" +
            "65000000240951ddefd83cbb06b52000991a22ee4f7997d7ec9dd26dced7ccc8d59b4dcafe010004" +
            "6000000041f891c8150074e281a16a8fa9a748b0f5312ea0290b7651c0fd6b042b7a1b354201f418" +
            "aee79b2542028b7de691bd97a59662212109295fde8ebf805c77670ebe8a00000041fde133358235" +
            "c1df825d7a214ed651d08c843d70b1b51b6d330374340ddafd010120156cbf1a1293ab0cc2841f6a" +
            "d070fb5700e024294e2f5b04e5e378bc4a85c3000000210000000000000000000000000000000000" +
            "00000000000000000000000000000001000000258b4e05bd066505ba6a3916708a912ea983a701f8" +
            "44d302fb36a4c9a91f2b8f3a0074726965000000235b37851d45385498ddce6d222386d7ade14940" +
            "ca3550a3ecae2c5d5fc657f1d30100000000004133fc3bd38a7d2e9dd57f2e10518a439d7c61b671" +
            "39cac075cdfca16a8f14e4ba016f1cd32165ccf533c4a57911bf71bbe8f21b8ae6790f5be3ccde38" +
            "fe872cf1e900000041fde133358235c1df825d7a214ed651d08c843d70b1b51b6d330374340ddafd" +
            "0101582b1bfa36078a0f86a284cfd2aa8fb1102d93439de365169ff61a2698f991a0000000210000" +
            "0000000000000000000000000000000000000000000000000000000000000100000025496f9d8435" +
            "3223a91f0a9b60dc61d23cfaf3f4c4fce9986f2818d84585193b41007472696500000023ed4dd37a" +
            "3641dbbfcebd00f90fa4ab04e0e31a914ba0cb753a4bfcbcd2f153d401000000000041f3b2e5b868" +
            "fecdfb2c5220a885dac896e0cdfb4375e5417df6c806b6c07f39f3015b6eb0aa1882b260101f50a8" +
            "deb98e7ecdc80c771a6c3a3243a4d7ccac438d9d00000041fde133358235c1df825d7a214ed651d0" +
            "8c843d70b1b51b6d330374340ddafd01016ac84c2dd86ea7b30c37616ef9220d873c948231aec873" +
            "71fb088eb82fa9b18600000021000000000000000000000000000000000000000000000000000000" +
            "00000000000100000025a7214573329f499d145da8aebeb1c86c7be5d8b73713a07af34405bbf0eb" +
            "58520074726965000000287c9a0dde74a7b8b134a06fd28e81010c1cb705077d9c1ea54e0a4662ef" +
            "574e07010021b0b6b6b0800000004143cee331e7d027e1db3179d4bd7a2f2c5d191cd6c0a3c65da1" +
            "31a313ba44c5b7010000000000000000000000000000000000000000000000000000000000000000" +
            "00000041d4a1579802d25698394cffe695ee1948bacd88114326c6db058e0f52747c1d8001000000" +
            "00000000000000000000000000000000000000000000000000000000000000002600000000000000" +
            "00000000000000000000000000000000000000000000000000017468726565",
    },
    absent: {
        root: ROOT,
        key: "epsilon",
        proof:
            "0000002525a0a6a0c209e413d7d2e4601ed308ed403e1714c247aa857aa3fdde21727e7600747269" +
            "65000000240951ddefd83cbb06b52000991a22ee4f7997d7ec9dd26dced7ccc8d59b4dcafe010004" +
            "6000000041f891c8150074e281a16a8fa9a748b0f5312ea0290b7651c0fd6b042b7a1b354201f418" +
            "aee79b2542028b7de691bd97a59662212109295fde8ebf805c77670ebe8a00000041fde133358235" +
            "c1df825d7a214ed651d08c843d70b1b51b6d330374340ddafd010120156cbf1a1293ab0cc2841f6a" +
            "d070fb5700e024294e2f5b04e5e378bc4a85c3000000210000000000000000000000000000000000" +
            "00000000000000000000000000000001000000258b4e05bd066505ba6a3916708a912ea983a701f8" +
            "44d302fb36a4c9a91f2b8f3a0074726965000000235b37851d45385498ddce6d222386d7ade14940" +
            "ca3550a3ecae2c5d5fc657f1d30100000000004133fc3bd38a7d2e9dd57f2e10518a439d7c61b671" +
            "39cac075cdfca16a8f14e4ba016f1cd32165ccf533c4a57911bf71bbe8f21b8ae6790f5be3ccde38" +
            "fe872cf1e900000041fde133358235c1df825d7a214ed651d08c843d70b1b51b6d330374340ddafd" +
            "0101582b1bfa36078a0f86a284cfd2aa8fb1102d93439de365169ff61a2698f991a0000000210000" +
            "0000000000000000000000000000000000000000000000000000000000000100000025496f9d8435" +
            "3223a91f0a9b60dc61d23cfaf3f4c4fce9986f2818d84585193b41007472696500000023ed4dd37a" +
            "3641dbbfcebd00f90fa4ab04e0e31a914ba0cb753a4bfcbcd2f153d401000000000041f3b2e5b868" +
            "fecdfb2c5220a885dac896e0cdfb4375e5417df6c806b6c07f39f3015b6eb0aa1882b260101f50a8" +
            "deb98e7ecdc80c771a6c3a3243a4d7ccac438d9d00000041fde133358235c1df825d7a214ed651d0" +
            "8c843d70b1b51b6d330374340ddafd01016ac84c2dd86ea7b30c37616ef9220d873c948231aec873" +
            "71fb088eb82fa9b18600000021000000000000000000000000000000000000000000000000000000" +
            "000000000001000000253638996d720dab0c2ff123020e44f93f4680908d935d2f016e7cab34c3b7" +
            "e596007472696500000028275eb07187a997519cbc1f2b3422079b21c536a961a7c4787636b3d0e2" +
            "6a57ed01002132b63a30800000004104a41c228eefb0f7bceccff817487b9b2dc7955a79a34dfe22" +
            "cd747d498cee2b010000000000000000000000000000000000000000000000000000000000000000" +
            "00000041381e37eb35eac671d5249f454babd9aabc97706ec28ce964eb6ae371aafdc79601000000" +
            "00000000000000000000000000000000000000000000000000000000000000002500000000000000" +
            "0000000000000000000000000000000000000000000000000001666f7572",
    },
};
