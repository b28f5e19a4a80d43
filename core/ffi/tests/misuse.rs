//! Misuse that the library detects, callbacks, and use from several threads.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every pointer is null, dangling on purpose and never read, or a live local"
)]

mod abi;

use abi::{EMPTY, Env, Machine, Outcome, Value, check, copied, outcome_info};
use astreum::*;
use core::ffi::c_void;
use core::ptr::{null, null_mut};

fn text(text: &str) -> (*const u8, usize) {
    (text.as_ptr(), text.len())
}

fn eval_status(machine: *mut AstreumMachine, env: *mut AstreumEnv, mode: u32) -> AstreumStatus {
    let mut outcome = null_mut();
    let (source, len) = text("1");
    let status = unsafe { astreum_machine_eval(machine, env, source, len, mode, &raw mut outcome) };
    assert_eq!(status != AstreumStatus::Ok, outcome.is_null());
    check(unsafe { astreum_outcome_free(outcome) });
    status
}

#[test]
fn null_and_foreign_handles_are_refused() {
    let (machine, env, value) = (Machine::new(), Env::new(), Value::symbol("a"));
    assert_eq!(
        eval_status(null_mut(), env.0, 0),
        AstreumStatus::NullPointer
    );
    assert_eq!(
        eval_status(machine.0, null_mut(), 0),
        AstreumStatus::NullPointer
    );
    assert_eq!(
        eval_status(env.0.cast(), env.0, 0),
        AstreumStatus::InvalidHandle
    );
    assert_eq!(
        eval_status(machine.0, value.0.cast(), 0),
        AstreumStatus::InvalidHandle
    );
    let misaligned = machine.0.wrapping_byte_add(1);
    assert_eq!(
        eval_status(misaligned, env.0, 0),
        AstreumStatus::InvalidHandle
    );
    assert_eq!(
        eval_status(machine.0, env.0, 2),
        AstreumStatus::InvalidArgument
    );
    assert_eq!(eval_status(machine.0, env.0, 0), AstreumStatus::Ok);
    unsafe {
        assert_eq!(
            astreum_value_free(env.0.cast()),
            AstreumStatus::InvalidHandle
        );
        assert_eq!(
            astreum_value_type(value.0, null_mut()),
            AstreumStatus::NullPointer
        );
        assert_eq!(astreum_env_new(null_mut()), AstreumStatus::NullPointer);
        assert_eq!(
            astreum_env_set(env.0, null(), 1, value.0),
            AstreumStatus::NullPointer
        );
        assert_eq!(
            astreum_env_set(env.0, null(), 0, value.0),
            AstreumStatus::Ok
        );
        // Null is ignored.
        check(astreum_value_free(null_mut()));
        check(astreum_env_free(null_mut()));
        check(astreum_machine_free(null_mut()));
        check(astreum_outcome_free(null_mut()));
        check(astreum_suspension_free(null_mut()));
        check(astreum_buffer_free(null_mut()));
        check(astreum_tokens_free(null_mut()));
        check(astreum_script_free(null_mut()));
        check(astreum_interrupt_free(null_mut()));
    }
}

#[test]
fn lengths_texts_and_struct_sizes_are_checked() {
    let byte = 0xff_u8;
    let mut value = null_mut();
    unsafe {
        assert_eq!(
            astreum_value_bytes(&raw const byte, usize::MAX, &raw mut value),
            AstreumStatus::InvalidLength
        );
        assert_eq!(
            astreum_value_symbol(&raw const byte, 1, &raw mut value),
            AstreumStatus::InvalidUtf8
        );
        assert!(value.is_null());
        let values = [null::<AstreumValue>()];
        assert_eq!(
            astreum_value_list(values.as_ptr(), 1, &raw mut value),
            AstreumStatus::NullPointer
        );
        assert_eq!(
            astreum_value_list(values.as_ptr(), usize::MAX / 2, &raw mut value),
            AstreumStatus::InvalidLength
        );
        let mut limits = abi::limits(&astreum_core::machine::Limits::DEFAULT);
        let mut machine = null_mut();
        for size in [0, 8, limits.size - 1, limits.size + 8, u64::MAX] {
            let known = limits.size;
            limits.size = size;
            assert_eq!(
                astreum_machine_new(ASTREUM_ABI_VERSION, &raw const limits, &raw mut machine),
                AstreumStatus::InvalidLength
            );
            limits.size = known;
        }
        assert_eq!(
            astreum_machine_new(ASTREUM_ABI_VERSION + 1, null(), &raw mut machine),
            AstreumStatus::IncompatibleVersion
        );
        assert!(machine.is_null());
    }
}

/// A newer program may have larger structs: the fields that the library does not know stay.
#[test]
fn larger_structs_of_results_are_filled_as_far_as_known() {
    #[repr(C)]
    struct Newer {
        limits: AstreumLimits,
        more: u64,
    }
    let mut newer = Newer {
        limits: abi::limits(&astreum_core::machine::Limits::DEFAULT),
        more: 7,
    };
    newer.limits.size = size_of::<Newer>() as u64;
    newer.limits.steps = 1;
    check(unsafe { astreum_limits_default((&raw mut newer.limits).cast()) });
    assert_eq!(
        newer.limits.steps,
        astreum_core::machine::Limits::DEFAULT.steps
    );
    assert_eq!(
        (newer.limits.size, newer.more),
        (size_of::<Newer>() as u64, 7)
    );
}

#[test]
fn values_of_another_type_and_indices_past_the_end_are_refused() {
    let (symbol, list) = (Value::symbol("a"), Value::list(&[Value::bytes(&[1; 9])]));
    let (mut integer, mut len, mut item, mut data) = (0, 0, null_mut(), EMPTY);
    unsafe {
        let status = astreum_value_as_integer(symbol.0, &raw mut integer);
        assert_eq!(status, AstreumStatus::WrongType);
        let status = astreum_value_len(symbol.0, &raw mut len);
        assert_eq!(status, AstreumStatus::WrongType);
        let status = astreum_value_data(list.0, &raw mut data);
        assert_eq!(status, AstreumStatus::WrongType);
        let status = astreum_value_item(list.0, 1, &raw mut item);
        assert_eq!(status, AstreumStatus::OutOfRange);
        check(astreum_value_item(list.0, 0, &raw mut item));
        let item = Value(item);
        let status = astreum_value_as_integer(item.0, &raw mut integer);
        assert_eq!(status, AstreumStatus::OutOfRange);
        check(astreum_value_data(item.0, &raw mut data));
        assert_eq!(copied(data), [1; 9]);
        let mut buffer = null_mut();
        let status = astreum_value_source(list.0, 3, &raw mut buffer);
        assert_eq!(status, AstreumStatus::OutOfRange);
    }
}

/// Handles that a callback tries to use again.
struct Nested {
    machine: *mut AstreumMachine,
    env: *mut AstreumEnv,
    seen: Vec<AstreumStatus>,
    dropped: u32,
}

unsafe extern "C" fn nested(user: *mut c_void, call: *mut AstreumCall) {
    let nested = unsafe { &mut *user.cast::<Nested>() };
    let other = Env::new();
    nested.seen.push(eval_status(nested.machine, other.0, 0));
    nested
        .seen
        .push(unsafe { astreum_machine_free(nested.machine) });
    nested.seen.push(unsafe { astreum_env_free(nested.env) });
    // Another machine may be used.
    nested.seen.push(eval_status(Machine::new().0, other.0, 0));
    check(unsafe { astreum_call_return_integer(call, 7) });
}

unsafe extern "C" fn count_drop(user: *mut c_void) {
    unsafe { &mut *user.cast::<Nested>() }.dropped += 1;
}

fn bind(
    machine: &Machine,
    name: &str,
    function: AstreumHostFunction,
    user: *mut c_void,
    drop_user: DropUser,
) -> AstreumStatus {
    let (name, len) = text(name);
    unsafe { astreum_machine_bind(machine.0, name, len, function, user, drop_user) }
}

#[test]
fn callbacks_cannot_use_or_free_the_handles_in_use() {
    let (machine, env) = (Machine::new(), Env::new());
    let mut state = Nested {
        machine: machine.0,
        env: env.0,
        seen: Vec::new(),
        dropped: 0,
    };
    let user: *mut c_void = (&raw mut state).cast();
    // A failed binding does not take the pointer.
    assert_eq!(
        bind(&machine, "def", Some(nested), user, Some(count_drop)),
        AstreumStatus::ReservedName
    );
    assert_eq!(
        bind(&machine, "f", None, user, Some(count_drop)),
        AstreumStatus::NullPointer
    );
    check(bind(&machine, "f", Some(nested), user, Some(count_drop)));
    let outcome = machine.eval(&env, "(f)", ASTREUM_MODE_FINISH);
    assert_eq!(outcome.value().to_source(), "7");
    assert_eq!(
        unsafe { &*user.cast::<Nested>() }.seen,
        [
            AstreumStatus::Busy,
            AstreumStatus::Busy,
            AstreumStatus::Busy,
            AstreumStatus::Ok
        ]
    );
    assert_eq!(unsafe { &*user.cast::<Nested>() }.dropped, 0);
    let (name, len) = text("f");
    check(unsafe { astreum_machine_unbind(machine.0, name, len) });
    assert_eq!(unsafe { &*user.cast::<Nested>() }.dropped, 1);
    let status = unsafe { astreum_machine_unbind(machine.0, name, len) };
    assert_eq!(status, AstreumStatus::NotFound);
}

unsafe extern "C" fn silent(_: *mut c_void, _: *mut AstreumCall) {}

#[test]
fn host_function_without_an_answer_is_an_error_of_the_host() {
    let (machine, env) = (Machine::new(), Env::new());
    check(bind(&machine, "f", Some(silent), null_mut(), None));
    let outcome = machine.eval(&env, "(f)", ASTREUM_MODE_FINISH);
    assert_eq!(outcome.info().kind, AstreumOutcomeKind::HostError);
    let mut error = AstreumHostError {
        size: size_of::<AstreumHostError>() as u64,
        origin: AstreumHostErrorOrigin::Unknown,
        code: 1,
        message: EMPTY,
        function: EMPTY,
    };
    check(unsafe { astreum_outcome_host_error(outcome.0, &raw mut error) });
    assert_eq!(error.origin, AstreumHostErrorOrigin::Function);
    assert_eq!((error.code, copied(error.function)), (0, b"f".to_vec()));
    assert_eq!(copied(error.message), b"the function returned no value");
}

unsafe extern "C" fn failing_get(_: *mut c_void, id: *const u8, lookup: *mut AstreumLookup) {
    let id = unsafe { core::slice::from_raw_parts(id, 32) };
    let (message, len) = text("disk lost");
    match id.first() {
        Some(1) => check(unsafe { astreum_lookup_fail(lookup, 99, message, len) }),
        // The wrong atom counts as missing.
        Some(2) => {
            let stored = [0; 33];
            let status = unsafe { astreum_lookup_found(lookup, stored.as_ptr(), stored.len()) };
            assert_eq!(status, AstreumStatus::Malformed);
        }
        _ => {}
    }
}

unsafe extern "C" fn failing_put(_: *mut c_void, _: *const u8, _: *const u8, _: usize) -> u64 {
    5
}

#[test]
fn errors_of_the_store_keep_their_code() {
    let (machine, env) = (Machine::new(), Env::new());
    let store = AstreumStore {
        size: size_of::<AstreumStore>() as u64,
        user: null_mut(),
        get: Some(failing_get),
        put: Some(failing_put),
        drop_user: None,
    };
    check(unsafe { astreum_machine_set_store(machine.0, &raw const store) });
    let host_error = |outcome: &Outcome| {
        let mut error = AstreumHostError {
            size: size_of::<AstreumHostError>() as u64,
            origin: AstreumHostErrorOrigin::Unknown,
            code: 0,
            message: EMPTY,
            function: EMPTY,
        };
        check(unsafe { astreum_outcome_host_error(outcome.0, &raw mut error) });
        (error.origin, error.code, copied(error.message))
    };
    let read = |byte: &str| format!("(0x{} ref)", byte.repeat(32));
    let outcome = machine.eval(&env, &read("01"), ASTREUM_MODE_FINISH);
    let expected = (AstreumHostErrorOrigin::Read, 99, b"disk lost".to_vec());
    assert_eq!(host_error(&outcome), expected);
    for byte in ["02", "03"] {
        let outcome = machine.eval(&env, &read(byte), ASTREUM_MODE_FINISH);
        assert_eq!(outcome.info().kind, AstreumOutcomeKind::Missing);
        assert!(outcome.info().missing_list);
    }
    let write = "(7 ((1 $0 atom_new) sk))";
    let outcome = machine.eval(&env, write, ASTREUM_MODE_SUSPEND);
    assert_eq!(outcome.info().reason, AstreumReason::HostError);
    let (origin, code, _) = host_error(&outcome);
    assert_eq!((origin, code), (AstreumHostErrorOrigin::Write, 5));
}

/// Handle that another thread uses.
struct Shared<T>(*mut T);

// SAFETY: the functions that the tests call on it may be called on any thread.
unsafe impl<T> Send for Shared<T> {}

#[test]
fn another_thread_interrupts_an_endless_evaluation() {
    let limits = astreum_core::machine::Limits {
        steps: u64::MAX,
        ..astreum_core::machine::Limits::DEFAULT
    };
    let (machine, env) = (Machine::with_limits(&limits), Env::new());
    let mut flag = null_mut();
    check(unsafe { astreum_interrupt_new(&raw mut flag) });
    check(unsafe { astreum_machine_set_interrupt(machine.0, flag) });
    let shared = Shared(flag);
    let thread = std::thread::spawn(move || {
        let shared = shared;
        check(unsafe { astreum_interrupt_set(shared.0, true) });
    });
    let endless = "(1 ((0 jump) sk))";
    let outcome = machine.eval(&env, endless, ASTREUM_MODE_FINISH);
    thread.join().unwrap();
    assert_eq!(outcome.info().kind, AstreumOutcomeKind::Interrupted);
    // The flag is still set.
    let outcome = machine.eval(&env, endless, ASTREUM_MODE_SUSPEND);
    assert_eq!(outcome.info().reason, AstreumReason::Interrupted);
    check(unsafe { astreum_interrupt_free(flag) });
}

unsafe extern "C" fn wait(user: *mut c_void, call: *mut AstreumCall) {
    let (entered, leave) = unsafe { &*user.cast::<(std::sync::Barrier, std::sync::Barrier)>() };
    entered.wait();
    leave.wait();
    check(unsafe { astreum_call_return_integer(call, 1) });
}

#[test]
fn concurrent_use_of_a_machine_is_refused() {
    let barriers = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    let machine = Machine::new();
    let user: *const (std::sync::Barrier, std::sync::Barrier) = &raw const barriers;
    check(bind(
        &machine,
        "wait",
        Some(wait),
        user.cast_mut().cast(),
        None,
    ));
    let shared = Shared(machine.0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let shared = shared;
            assert_eq!(eval_with(shared.0, "(wait)"), AstreumStatus::Ok);
        });
        barriers.0.wait();
        assert_eq!(eval_with(machine.0, "1"), AstreumStatus::Busy);
        barriers.1.wait();
    });
    assert_eq!(eval_with(machine.0, "1"), AstreumStatus::Ok);
}

fn eval_with(machine: *mut AstreumMachine, source: &str) -> AstreumStatus {
    let (env, mut outcome) = (Env::new(), null_mut());
    let (source, len) = text(source);
    let mode = ASTREUM_MODE_FINISH;
    let status =
        unsafe { astreum_machine_eval(machine, env.0, source, len, mode, &raw mut outcome) };
    check(unsafe { astreum_outcome_free(outcome) });
    status
}

#[test]
fn resumption_that_fails_keeps_the_suspension() {
    let (machine, env) = (Machine::new(), Env::new());
    let source = format!("(0x{} ref)", "07".repeat(32));
    let outcome = machine.eval(&env, &source, ASTREUM_MODE_SUSPEND);
    let mut suspension = null_mut();
    unsafe {
        check(astreum_outcome_take_suspension(
            outcome.0,
            &raw mut suspension,
        ));
        let mut again = null_mut();
        let status = astreum_outcome_take_suspension(outcome.0, &raw mut again);
        assert_eq!((status, again.is_null()), (AstreumStatus::NotFound, true));
        // The outcome still says why.
        assert_eq!(outcome.info().reason, AstreumReason::Missing);
        let mut info = outcome_info();
        check(astreum_suspension_info(suspension, &raw mut info));
        assert_eq!(info.missing_id, [7; 32]);
        let value = Value::symbol("a");
        let status = astreum_suspension_answer(suspension, value.0);
        assert_eq!(status, AstreumStatus::NotFound);
        let mut resumed = null_mut();
        let status = astreum_machine_resume(machine.0, null_mut(), suspension, 0, &raw mut resumed);
        assert_eq!(status, AstreumStatus::NullPointer);
        let status = astreum_machine_resume(machine.0, env.0, suspension, 9, &raw mut resumed);
        assert_eq!(status, AstreumStatus::InvalidArgument);
        check(astreum_suspension_refuse(suspension));
        check(astreum_machine_resume(
            machine.0,
            env.0,
            suspension,
            1,
            &raw mut resumed,
        ));
        assert!(
            Outcome(resumed)
                .value()
                .to_source()
                .contains("ref target not found")
        );
    }
}

#[test]
fn serialized_suspensions_are_checked() {
    let (machine, env) = (Machine::new(), Env::new());
    check(unsafe { astreum_machine_set_slice(machine.0, 1) });
    let outcome = machine.eval(&env, "((1 2 (($0 $1 add) sk)) 3)", ASTREUM_MODE_SUSPEND);
    let (mut suspension, mut image, mut bytes) = (null_mut(), null_mut(), EMPTY);
    unsafe {
        check(astreum_outcome_take_suspension(
            outcome.0,
            &raw mut suspension,
        ));
        check(astreum_suspension_serialize(
            suspension,
            env.0,
            &raw mut image,
        ));
        check(astreum_suspension_free(suspension));
        check(astreum_buffer_bytes(image, &raw mut bytes));
        let restore = |machine: &Machine, len: usize| {
            let (mut suspension, mut env) = (null_mut(), null_mut());
            let status = astreum_machine_restore(
                machine.0,
                bytes.data,
                len,
                &raw mut suspension,
                &raw mut env,
            );
            assert_eq!(suspension.is_null(), status != AstreumStatus::Ok);
            check(astreum_suspension_free(suspension));
            check(astreum_env_free(env));
            status
        };
        assert_eq!(restore(&machine, bytes.len), AstreumStatus::Ok);
        for len in 0..bytes.len {
            assert_eq!(
                restore(&machine, len),
                AstreumStatus::Malformed,
                "{len} bytes"
            );
        }
        let low = astreum_core::machine::Limits {
            steps: 5,
            ..astreum_core::machine::Limits::DEFAULT
        };
        let lower = Machine::with_limits(&low);
        assert_eq!(restore(&lower, bytes.len), AstreumStatus::HigherLimits);
        check(bind(&machine, "f", Some(silent), null_mut(), None));
        assert_eq!(
            restore(&machine, bytes.len),
            AstreumStatus::OtherHostFunctions
        );
        check(astreum_buffer_free(image));
    }
}

#[test]
fn positions_are_found_in_earlier_sources() {
    let (machine, env) = (Machine::new(), Env::new());
    let source = "(((x missing.name) (x) fn) f def)";
    let (data, len) = text(source);
    let (mut script, mut outcome) = (null_mut(), null_mut());
    unsafe {
        check(astreum_script_new(data, len, &raw mut script, null_mut()));
        check(astreum_machine_eval_script(
            machine.0,
            env.0,
            script,
            0,
            &raw mut outcome,
        ));
        drop(Outcome(outcome));
        let outcome = machine.eval(&env, "(1 f)", ASTREUM_MODE_FINISH);
        assert_eq!(outcome.info().failures, 1);
        let (mut start, mut end, mut name) = (0, 0, EMPTY);
        let status =
            astreum_outcome_failure_span(outcome.0, 0, 0, null(), &raw mut start, &raw mut end);
        assert_eq!(status, AstreumStatus::NotFound);
        let span = |frame, script, start: &mut usize, end: &mut usize| {
            astreum_outcome_failure_span(outcome.0, 0, frame, script, start, end)
        };
        check(span(0, script, &mut start, &mut end));
        assert_eq!(&source[start..end], "missing.name");
        check(span(1, null(), &mut start, &mut end));
        assert_eq!(
            span(2, null(), &mut start, &mut end),
            AstreumStatus::OutOfRange
        );
        check(astreum_outcome_frame_name(outcome.0, 0, 0, &raw mut name));
        assert_eq!(copied(name), b"f");
        check(astreum_script_free(script));
    }
}
