//! Named environments of a node, shared by its users.

use super::Node;
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Evaluation};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Environments by name.
#[derive(Debug, Default)]
pub(super) struct Environments(Mutex<BTreeMap<String, Arc<Mutex<Env>>>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// Returns the environment with this name, and creates it if it does not exist. All holders see
    /// the same bindings; evaluations in it run one after another.
    ///
    /// ```
    /// use astreum_node::{Config, Expr, Node};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = Node::new(Config::default())?;
    /// node.eval_source_in("mine", "(((a b (($0 $1 add) sk)) (a b) fn) int.add def)");
    /// let sum = node.eval_source_in("mine", "(1 2 int.add)");
    /// assert_eq!(sum.value(), &Expr::bytes([3]));
    /// assert!(node.env_get("other", "int.add").is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn environment(&self, name: &str) -> Arc<Mutex<Env>> {
        let mut environments = lock(&self.environments.0);
        let environment = environments.entry(name.to_owned()).or_default();
        Arc::clone(environment)
    }

    /// Returns the names of all environments.
    #[must_use]
    pub fn environments(&self) -> Vec<String> {
        lock(&self.environments.0).keys().cloned().collect()
    }

    /// Removes an environment; returns `false` if it did not exist.
    pub fn remove_environment(&self, name: &str) -> bool {
        lock(&self.environments.0).remove(name).is_some()
    }

    /// Binds a name in an environment; returns its previous value.
    pub fn env_set(&self, environment: &str, name: &str, value: Expr) -> Option<Expr> {
        lock(&self.environment(environment)).set(name, value)
    }

    /// Returns the value of a name in an environment.
    #[must_use]
    pub fn env_get(&self, environment: &str, name: &str) -> Option<Expr> {
        let environment = lock(&self.environments.0).get(environment).cloned()?;
        lock(&environment).get(name).cloned()
    }

    /// Evaluates an expression in an environment.
    pub fn eval_in(&self, environment: &str, expr: &Expr) -> Evaluation {
        self.eval(expr, &mut lock(&self.environment(environment)))
    }

    /// Parses and evaluates a source in an environment.
    pub fn eval_source_in(&self, environment: &str, source: &str) -> Evaluation {
        self.eval_source(source, &mut lock(&self.environment(environment)))
    }

    /// Parses and evaluates a source over this node's atoms.
    pub fn eval_source(&self, source: &str, env: &mut Env) -> Evaluation {
        self.machine().eval_source(source, env)
    }
}
