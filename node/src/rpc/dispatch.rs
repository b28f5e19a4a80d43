//! Dispatch of messages: a message becomes a call of a [`Service`], and its result the answer.
//!
//! Invariants:
//! - Every message has one answer, a malformed one as well; a notification has none.
//! - A wait of a method ends once its caller is gone.

use super::caller::Caller;
use super::error::RpcError;
use super::message::{Answer, CallId, parse_call};
use super::service::{Request, Service, schema};
use crate::WaitLimit;

/// Method that returns the schema, as OpenRPC names it.
const DISCOVER: &str = "rpc.discover";

/// Request that was received, or the reason it is refused.
pub(super) struct Incoming {
    /// `None` for a notification.
    id: Option<CallId>,
    wanted: Result<Wanted, RpcError>,
}

enum Wanted {
    Request(Request),
    Discover,
}

impl Incoming {
    /// Reads a message.
    pub(super) fn parse(message: &[u8]) -> Self {
        let call = match parse_call(message) {
            Ok(call) => call,
            Err((id, error)) => {
                return Self {
                    id: Some(id),
                    wanted: Err(error),
                };
            }
        };
        let wanted = match &*call.method {
            DISCOVER => Ok(Wanted::Discover),
            _ => Request::parse(&call).map(Wanted::Request),
        };
        Self {
            id: call.id,
            wanted,
        }
    }

    /// Creates one that is refused, without an id.
    #[cfg(feature = "http")]
    pub(super) const fn refused(error: RpcError) -> Self {
        Self {
            id: Some(CallId::NULL),
            wanted: Err(error),
        }
    }

    /// Refuses it unless `admit` lets it pass.
    #[must_use]
    pub(super) fn admit(self, admit: impl FnOnce(&Request) -> Result<(), RpcError>) -> Self {
        let wanted = self.wanted.and_then(|wanted| match &wanted {
            Wanted::Request(request) => admit(request).map(|()| wanted),
            Wanted::Discover => Ok(wanted),
        });
        Self { wanted, ..self }
    }

    /// Returns its id; `None` for a notification.
    #[cfg(feature = "http")]
    pub(super) fn id(&self) -> Option<CallId> {
        self.id.clone()
    }

    /// Returns whether nothing can delay its answer. Requests about the session are among them, so
    /// that they take effect before the next one is read.
    #[cfg(feature = "http")]
    pub(super) fn is_quick(&self, service: &dyn Service) -> bool {
        match &self.wanted {
            Ok(Wanted::Request(
                Request::Subscribe(_) | Request::Unsubscribe(_) | Request::Authenticate(_),
            ))
            | Err(_) => true,
            Ok(Wanted::Request(request)) => service.is_quick(request),
            Ok(Wanted::Discover) => false,
        }
    }

    /// Returns whether it starts a subscription.
    #[cfg(feature = "http")]
    pub(super) const fn subscribes(&self) -> bool {
        matches!(&self.wanted, Ok(Wanted::Request(Request::Subscribe(_))))
    }

    /// Returns whether it waits for something to happen.
    #[cfg(feature = "http")]
    pub(super) const fn waits(&self) -> bool {
        matches!(&self.wanted, Ok(Wanted::Request(request)) if request.waits())
    }

    /// Carries it out.
    pub(super) fn answer(self, service: &dyn Service, caller: &Caller) -> Answer {
        static NULL: CallId = CallId::NULL;
        let id = self.id.as_ref().unwrap_or(&NULL);
        let answer = match self.wanted {
            Ok(Wanted::Request(request)) => {
                let wait_limit = WaitLimit::NONE.until(caller.gone());
                wait_limit.scope(|| request.answer(service, id, caller))
            }
            Ok(Wanted::Discover) => Answer::new(id, &Ok(schema())),
            Err(error) => Answer::new(id, &Err::<(), RpcError>(error)),
        };
        Answer {
            message: answer.message.filter(|_| self.id.is_some()),
            ..answer
        }
    }
}

/// Answers the message of a request; `None` for a notification.
#[must_use]
pub fn answer(service: &dyn Service, message: &[u8], caller: &Caller) -> Option<Vec<u8>> {
    Incoming::parse(message).answer(service, caller).message
}

#[cfg(test)]
mod tests {
    use super::super::MAX_MESSAGE_BYTES;
    use super::super::message::parse_reply;
    use super::super::protocol::{AtomReply, EvalReply};
    use super::super::service::{PartialService, request};
    use super::*;
    use astreum_core::atom::AtomId;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// Service of a few methods.
    struct Few;

    impl PartialService for Few {
        fn get(&self, params: request::Get, _: &Caller) -> Result<AtomReply, RpcError> {
            Err(RpcError::missing(&params.id))
        }

        fn eval(&self, params: request::Eval, _: &Caller) -> Result<EvalReply, RpcError> {
            Ok(EvalReply {
                text: params.source.repeat(MAX_MESSAGE_BYTES),
                expr: Value::Null,
                used: 0,
                is_error: false,
            })
        }

        fn withdraw(&self, _: request::Withdraw, _: &Caller) -> Result<bool, RpcError> {
            Ok(true)
        }

        fn stop(&self, _: request::Stop, _: &Caller) -> Result<(), RpcError> {
            Err("no".into())
        }
    }

    fn answered(message: &str) -> Value {
        let reply = answer(&Few, message.as_bytes(), &Caller::default()).unwrap();
        serde_json::from_slice(&reply).unwrap()
    }

    fn asked(method: &str, params: &Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        answered(&message.to_string())
    }

    #[test]
    fn requests_are_dispatched_by_method() {
        let id = AtomId::new([7; 32]);
        assert_eq!(
            asked("withdraw", &json!({"id": id.to_string()})),
            json!({"jsonrpc": "2.0", "id": 1, "result": true})
        );
        assert_eq!(
            asked("stop", &json!({})),
            json!({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}})
        );
        let missing = asked("get", &json!({"id": id.to_string()}));
        assert_eq!(missing["error"]["data"]["missing"], id.to_string());
        let long = asked("eval", &json!({"source": "xx"}));
        assert_eq!(long["error"]["code"], -32_002, "{long}");
    }

    #[test]
    fn unknown_methods_and_params_have_their_codes() {
        for (method, params, code) in [
            ("fly", json!({}), -32_601),
            ("peers", json!({}), -32_601),
            ("stop", json!({"x": 1}), -32_602),
            ("stop", json!([]), -32_602),
            ("get", json!({}), -32_602),
            ("get", json!({"id": 7}), -32_602),
            ("get", json!({"id": "00"}), -32_602),
            ("block", json!({"at": "tail"}), -32_602),
            ("account", json!({"account": "you"}), -32_602),
        ] {
            let reply = asked(method, &params);
            assert_eq!(reply["error"]["code"], code, "{reply}");
        }
    }

    #[test]
    fn notifications_are_executed_without_a_reply() {
        let caller = Caller::default();
        let message = br#"{"jsonrpc":"2.0","method":"stop"}"#;
        assert_eq!(answer(&Few, message, &caller), None);
        let message = br#"{"jsonrpc":"2.0","method":"fly"}"#;
        assert_eq!(answer(&Few, message, &caller), None);
    }

    proptest! {
        #[test]
        fn arbitrary_message_has_one_reply(
            message in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let reply = answer(&Few, &message, &Caller::default());
            prop_assert!(reply.is_some_and(|reply| parse_reply::<Value>(1, &reply).is_ok()));
        }
    }
}
