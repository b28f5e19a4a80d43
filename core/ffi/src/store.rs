//! Atoms: the memory of a machine, and a store of the host behind it.

use crate::buffer::{AstreumBuffer, buffer};
use crate::error::{AstreumStatus, Result, guard};
use crate::handle::{self, Handle, Kind};
use crate::host::{DropUser, HostFailure, UserData};
use crate::machine::AstreumMachine;
use crate::memory::{self, Out, Sized64, id_out, items, text};
use crate::value::AstreumValue;
use astreum_core::atom::{
    Atom, AtomId, AtomKind, AtomSink, AtomSource, MemoryStore, SourceError, atom_id,
};
use astreum_core::expr::{Expr, ExprError};
use core::ffi::c_void;
use core::mem::size_of;

/// Lookup of an atom in the store of a host. Valid until the callback returns.
pub struct AstreumLookup {
    _private: [u8; 0],
}

/// State of a lookup.
pub(crate) struct Lookup {
    id: AtomId,
    answer: Result<Atom, SourceError<HostFailure>>,
}

impl Kind for AstreumLookup {
    type State = Lookup;
    const TAG: u32 = 0x4173_0006;
}

/// Looks up the atom with the 32 bytes `id`. Calls `astreum_lookup_found` if there is one and
/// `astreum_lookup_fail` if the store failed; otherwise the atom is missing.
pub type AstreumAtomGet =
    Option<unsafe extern "C" fn(user: *mut c_void, id: *const u8, lookup: *mut AstreumLookup)>;

/// Stores an atom that a program created, under the 32 bytes `id`. Returns 0, or the host's number
/// for an error, which ends the evaluation. The stored form is valid until the callback returns.
pub type AstreumAtomPut = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        id: *const u8,
        stored: *const u8,
        stored_len: usize,
    ) -> u64,
>;

/// Store of a host.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AstreumStore {
    /// `sizeof(AstreumStore)`, set by the caller.
    pub size: u64,
    /// Passed to the callbacks.
    pub user: *mut c_void,
    /// Source of atoms that the memory of the machine does not have; null if there is none.
    pub get: AstreumAtomGet,
    /// Sink of the atoms that programs create; if null, they are kept in the memory of the machine.
    pub put: AstreumAtomPut,
    /// Called once when the store is replaced or the machine freed; may be null.
    pub drop_user: DropUser,
}

// SAFETY: the struct is `repr(C)`, starts with a `u64`, and consists of pointers that may be null.
unsafe impl Sized64 for AstreumStore {
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// Callbacks of a store, and the host's pointer.
struct Callbacks {
    get: AstreumAtomGet,
    put: AstreumAtomPut,
    user: UserData,
}

/// Atoms of a machine.
#[derive(Default)]
pub(crate) struct HostStore {
    memory: MemoryStore,
    callbacks: Option<Callbacks>,
}

impl AtomSource for HostStore {
    type Error = HostFailure;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<HostFailure>> {
        if let Ok(atom) = self.memory.atom(id) {
            return Ok(atom);
        }
        let Some((get, user)) = self
            .callbacks
            .as_ref()
            .and_then(|callbacks| Some((callbacks.get?, &callbacks.user)))
        else {
            return Err(SourceError::Missing(*id));
        };
        let mut lookup = Handle::new::<AstreumLookup>(Lookup {
            id: *id,
            answer: Err(SourceError::Missing(*id)),
        });
        // SAFETY: the host promised that the callback may be called with its pointer. The lookup
        // lives until the callback returns.
        unsafe {
            get(
                user.pointer(),
                id.as_bytes().as_ptr(),
                (&raw mut lookup).cast(),
            );
        }
        lookup.into_inner().answer
    }
}

impl AtomSink for HostStore {
    type Error = HostFailure;

    fn put(&mut self, id: AtomId, atom: Atom) -> Result<(), HostFailure> {
        let callbacks = self.callbacks.as_ref();
        let Some((put, user)) =
            callbacks.and_then(|callbacks| Some((callbacks.put?, &callbacks.user)))
        else {
            self.memory.insert(atom);
            return Ok(());
        };
        let stored = atom.to_bytes();
        // SAFETY: the host promised that the callback may be called with its pointer. The bytes
        // live until it returns.
        let code = unsafe {
            put(
                user.pointer(),
                id.as_bytes().as_ptr(),
                stored.as_ptr(),
                stored.len(),
            )
        };
        match code {
            0 => Ok(()),
            code => Err(HostFailure::new(code, "failed to store an atom")),
        }
    }
}

/// Answers a lookup with the stored form of the atom; copies it. Bytes that are not an atom with this
/// id, such as those of a damaged medium, are refused with `ASTREUM_STATUS_MALFORMED`, and the atom
/// counts as missing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_lookup_found(
    lookup: *mut AstreumLookup,
    stored: *const u8,
    stored_len: usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut lookup, stored) = unsafe { (handle::lock(lookup)?, items(stored, stored_len)?) };
        let atom = Atom::from_bytes(stored).ok();
        let atom = atom.filter(|atom| atom.id() == lookup.id);
        lookup.answer = Ok(atom.ok_or(AstreumStatus::Malformed)?);
        Ok(())
    })
}

/// Answers a lookup with an error of the store, which ends or suspends the evaluation. `code` is any
/// number of the host, also a pointer; it is returned with the outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_lookup_fail(
    lookup: *mut AstreumLookup,
    code: u64,
    message: *const u8,
    message_len: usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut lookup, message) = unsafe { (handle::lock(lookup)?, text(message, message_len)?) };
        lookup.answer = Err(SourceError::Failed(HostFailure::new(code, message)));
        Ok(())
    })
}

/// Sets the store of a machine; null removes it. The callbacks and `user` must be valid until
/// `drop_user` is called, on every thread that uses the machine. It is not called if this function
/// fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_set_store(
    machine: *mut AstreumMachine,
    store: *const AstreumStore,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let mut machine = unsafe { handle::lock(machine)? };
        let callbacks = if store.is_null() {
            None
        } else {
            let default = AstreumStore {
                size: 0,
                user: core::ptr::null_mut(),
                get: None,
                put: None,
                drop_user: None,
            };
            // SAFETY: the contract of the crate.
            let store = unsafe { memory::read_sized(store, default)? };
            Some(Callbacks {
                get: store.get,
                put: store.put,
                user: UserData::new(store.user, store.drop_user),
            })
        };
        machine.store_mut().callbacks = callbacks;
        Ok(())
    })
}

/// Keeps an atom, given by its stored form, in the memory of a machine: for example the one that a
/// suspended evaluation waits for. Writes the 32 bytes of its id unless `id` is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_put_atom(
    machine: *mut AstreumMachine,
    stored: *const u8,
    stored_len: usize,
    id: *mut u8,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut machine, stored) = unsafe { (handle::lock(machine)?, items(stored, stored_len)?) };
        let atom = Atom::from_bytes(stored).map_err(|_| AstreumStatus::Malformed)?;
        let atom_id = machine.store_mut().memory.insert(atom);
        if !id.is_null() {
            // SAFETY: the contract of the crate.
            unsafe { id_out(id)? }.set(*atom_id.as_bytes());
        }
        Ok(())
    })
}

/// Returns the stored form of an atom from the memory of a machine or the store of the host, or
/// `ASTREUM_STATUS_NOT_FOUND`. The caller frees the buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_get_atom(
    machine: *const AstreumMachine,
    id: *const u8,
    stored: *mut *mut AstreumBuffer,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, machine, id) = unsafe {
            (
                Out::handle(stored)?,
                handle::lock(machine)?,
                memory::id(id)?,
            )
        };
        let atom = machine.store().atom(&id).map_err(|error| match error {
            SourceError::Missing(_) => AstreumStatus::NotFound,
            SourceError::Failed(_) => AstreumStatus::HostError,
        })?;
        out.set(buffer(atom.to_bytes()));
        Ok(())
    })
}

/// Removes an atom from the memory of a machine; returns `ASTREUM_STATUS_NOT_FOUND` if it is not
/// there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_remove_atom(
    machine: *mut AstreumMachine,
    id: *const u8,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut machine, id) = unsafe { (handle::lock(machine)?, memory::id(id)?) };
        let removed = machine.store_mut().memory.remove(&id);
        removed.map(drop).ok_or(AstreumStatus::NotFound)
    })
}

/// Removes all atoms from the memory of a machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_clear_atoms(
    machine: *mut AstreumMachine,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let mut machine = unsafe { handle::lock(machine)? };
        machine.store_mut().memory = MemoryStore::new();
        Ok(())
    })
}

/// Stores the atoms of a value, where programs store theirs, and writes the 32 bytes of its id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_write_value(
    machine: *mut AstreumMachine,
    value: *const AstreumValue,
    id: *mut u8,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, mut machine, value) =
            unsafe { (id_out(id)?, handle::lock(machine)?, handle::shared(value)?) };
        let id = value.write_atoms(machine.store_mut());
        out.set(*id.map_err(|_| AstreumStatus::HostError)?.as_bytes());
        Ok(())
    })
}

/// Reads the value with the 32 bytes `id` from atoms, at most `max_atoms` of them; an atom counts
/// each time it occurs. If an atom is missing, returns `ASTREUM_STATUS_NOT_FOUND` and writes its id
/// to `missing` unless that is null. The caller frees the value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_read_value(
    machine: *const AstreumMachine,
    id: *const u8,
    max_atoms: usize,
    value: *mut *mut AstreumValue,
    missing: *mut u8,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, machine, id) =
            unsafe { (Out::handle(value)?, handle::lock(machine)?, memory::id(id)?) };
        match Expr::from_atoms(machine.store(), &id, max_atoms) {
            Ok(expr) => {
                out.set(handle::create(expr));
                Ok(())
            }
            Err(ExprError::Missing(id)) => {
                if !missing.is_null() {
                    // SAFETY: the contract of the crate.
                    unsafe { id_out(missing)? }.set(*id.as_bytes());
                }
                Err(AstreumStatus::NotFound)
            }
            Err(ExprError::Source(_)) => Err(AstreumStatus::HostError),
            Err(ExprError::TooManyAtoms { .. }) => Err(AstreumStatus::OutOfRange),
            Err(_) => Err(AstreumStatus::Malformed),
        }
    })
}

/// Computes the id of the atom with this kind (0 symbol, 1 bytes, 2 list), data, and the 32 bytes of
/// the next id. Writes 32 bytes. The stored form of the atom is `next ‖ kind ‖ data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_atom_id(
    kind: u32,
    data: *const u8,
    data_len: usize,
    next: *const u8,
    id: *mut u8,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, data, next) = unsafe { (id_out(id)?, items(data, data_len)?, memory::id(next)?) };
        let code = u8::try_from(kind).ok();
        let kind = code.and_then(AtomKind::from_code);
        let kind = kind.ok_or(AstreumStatus::InvalidArgument)?;
        out.set(*atom_id(kind, data, next).as_bytes());
        Ok(())
    })
}
