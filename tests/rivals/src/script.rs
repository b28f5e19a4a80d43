//! rhai's function call.

use crate::CALLS;
use rhai::Engine;

/// Number of times that the nested calls are made in one run.
pub const REPEAT: usize = 200;

pub fn calls() -> Box<dyn FnMut()> {
    let mut engine = Engine::new();
    engine.set_max_expr_depths(0, 0);
    let nested = format!("{}1{}", "f(".repeat(CALLS), ")".repeat(CALLS));
    let ast = engine
        .compile(format!("fn f(x) {{ x }} {nested}"))
        .expect("a script");
    Box::new(move || {
        for _ in 0..REPEAT {
            assert_eq!(engine.eval_ast::<i64>(&ast).expect("a number"), 1);
        }
    })
}
