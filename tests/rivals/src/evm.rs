//! revm's bare interpreter.

use crate::{COUNT, NANDS};
use revm::bytecode::{Bytecode, opcode::*};
use revm::context_interface::host::DummyHost;
use revm::interpreter::interpreter::{EthInterpreter, ExtBytecode};
use revm::interpreter::{InputsImpl, Interpreter, SharedMemory, gas_table, instruction_table};
use revm::primitives::{Bytes, hardfork::SpecId};

fn runner(code: Vec<u8>, stack_len: usize) -> Box<dyn FnMut()> {
    let bytecode = Bytecode::new_raw(Bytes::from(code));
    let table = instruction_table::<EthInterpreter, DummyHost>();
    let gas = gas_table();
    let mut host = DummyHost::new(SpecId::OSAKA);
    Box::new(move || {
        let mut interpreter = Interpreter::<EthInterpreter>::new(
            SharedMemory::new(),
            ExtBytecode::new(bytecode.clone()),
            InputsImpl::default(),
            false,
            SpecId::OSAKA,
            u64::MAX,
        );
        interpreter.run_plain(&table, &gas, &mut host);
        assert_eq!(interpreter.stack.len(), stack_len);
    })
}

/// Returns a counter in memory that is compared with its end and jumped on: twelve instructions per
/// iteration.
pub fn counting() -> Box<dyn FnMut()> {
    let [high, low] = COUNT.to_be_bytes();
    let code = vec![
        JUMPDEST, PUSH0, MLOAD, PUSH1, 1, ADD, DUP1, PUSH0, MSTORE, PUSH2, high, low, GT, PUSH0,
        JUMPI, STOP,
    ];
    runner(code, 0)
}

pub fn nand() -> Box<dyn FnMut()> {
    let mut code = vec![PUSH32];
    code.extend([0x5a; 32]);
    for _ in 0..NANDS {
        code.push(PUSH32);
        code.extend([0xff; 32]);
        code.extend([AND, NOT]);
    }
    code.push(STOP);
    runner(code, 1)
}
