//! Object requests and responses, payloads of found objects, and contacts.
//!
//! Layouts (reference: `communication/handlers/object_request.py`, `object_response.py`):
//!
//! | item | bytes |
//! | --- | --- |
//! | request | type (0 get, 1 put) ‖ atom id 32 ‖ payload type 1 (a get may leave it out) ‖ data |
//! | response | type (0 found, 1 provider, 2 nearest peer) ‖ atom id 32 ‖ data |
//! | data of "found" | 1 ‖ an atom's stored bytes, or 2 ‖ (u32 BE length ‖ stored bytes)… |
//! | contact, data of the other two and of a put | X25519 key 32 ‖ IPv4 address 4 ‖ port u16 BE |

use super::read::{take, take_byte, take_u16};
use crate::atom::{Atom, AtomError, AtomId, HashedAtom};
use crate::crypto::PublicKey;
use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};

/// Type of the data of a request, or of the answer that it asks for. Peers may use unknown codes.
///
/// ```
/// use astreum_core::wire::object::PayloadType;
/// assert_eq!(PayloadType::LIST.code(), 2);
/// assert_eq!(PayloadType::new(1), PayloadType::ATOM);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PayloadType(u8);

impl PayloadType {
    /// One atom; also the meaning of a get without a payload type.
    pub const ATOM: Self = Self(1);
    /// A list of atoms, head first.
    pub const LIST: Self = Self(2);

    /// Returns the type with this code.
    #[must_use]
    pub const fn new(code: u8) -> Self {
        Self(code)
    }

    /// Returns the code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }
}

/// Reason why bytes are not an object request or response. The sender is at fault.
///
/// ```
/// use astreum_core::wire::object::{ObjectError, Request};
/// assert_eq!(Request::decode(&[0; 32]), Err(ObjectError::TooShort { len: 32 }));
/// assert_eq!(Request::decode(&[7; 33]), Err(ObjectError::UnknownType { code: 7 }));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectError {
    /// Fewer than the 33 bytes of type and id.
    TooShort {
        /// Length of the input, in bytes.
        len: usize,
    },
    /// Unknown message type.
    UnknownType {
        /// Code of the type.
        code: u8,
    },
    /// A put without a payload type.
    NoPayloadType,
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { len } => write!(
                f,
                "object message of {len} bytes is too short: expected at least 33"
            ),
            Self::UnknownType { code } => write!(f, "unknown object message type {code}"),
            Self::NoPayloadType => f.write_str("object put without a payload type"),
        }
    }
}

impl core::error::Error for ObjectError {}

fn take_type_and_id(bytes: &mut &[u8]) -> Result<(u8, AtomId), ObjectError> {
    let too_short = ObjectError::TooShort { len: bytes.len() };
    let code = take_byte(bytes).ok_or(too_short)?;
    let id = AtomId::new(*take(bytes).ok_or(too_short)?);
    Ok((code, id))
}

/// Action that a request asks for.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::wire::object::{Action, PayloadType, Request};
///
/// // A get may leave out the payload type.
/// let atom_id = AtomId::new([7; 32]);
/// let mut content = Vec::new();
/// Request { action: Action::Get(None), atom_id, data: &[] }.write(&mut content);
/// assert_eq!((content.len(), content[0]), (33, 0));
/// content.push(PayloadType::LIST.code());
/// let action = Request::decode(&content).map(|request| request.action);
/// assert_eq!(action, Ok(Action::Get(Some(PayloadType::LIST))));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send the atom, or refer to a peer that has it. `None` means [`PayloadType::ATOM`].
    Get(Option<PayloadType>),
    /// Record a provider of the atom.
    Put(PayloadType),
}

/// An object request.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::wire::object::{Action, PayloadType, Request};
///
/// let request = Request {
///     action: Action::Get(Some(PayloadType::LIST)),
///     atom_id: AtomId::new([7; 32]),
///     data: &[],
/// };
/// let mut content = Vec::new();
/// request.write(&mut content);
/// assert_eq!(Request::decode(&content), Ok(request));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<'b> {
    /// The requested action.
    pub action: Action,
    /// Id of the requested or provided atom.
    pub atom_id: AtomId,
    /// Contact of a put; empty in a get. The first byte of data in a get without a payload type
    /// would be read as its payload type.
    pub data: &'b [u8],
}

impl<'b> Request<'b> {
    /// Appends the request's bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (code, payload_type) = match self.action {
            Action::Get(payload_type) => (0, payload_type),
            Action::Put(payload_type) => (1, Some(payload_type)),
        };
        out.push(code);
        out.extend_from_slice(self.atom_id.as_bytes());
        out.extend(payload_type.map(PayloadType::code));
        out.extend_from_slice(self.data);
    }

    /// Reads a request.
    ///
    /// # Errors
    /// Fails if the bytes are too short, of an unknown type, or a put without a payload type.
    pub fn decode(bytes: &'b [u8]) -> Result<Self, ObjectError> {
        let mut data = bytes;
        let (code, atom_id) = take_type_and_id(&mut data)?;
        if code > 1 {
            return Err(ObjectError::UnknownType { code });
        }
        let payload_type = take_byte(&mut data).map(PayloadType);
        let action = if code == 0 {
            Action::Get(payload_type)
        } else {
            Action::Put(payload_type.ok_or(ObjectError::NoPayloadType)?)
        };
        Ok(Self {
            action,
            atom_id,
            data,
        })
    }
}

/// Kind of a response.
///
/// ```
/// use astreum_core::wire::object::Answer;
/// assert_eq!(Answer::from_code(1), Some(Answer::Provider));
/// assert_eq!(Answer::Nearest.code(), 2);
/// assert_eq!(Answer::from_code(3), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The object was found; [`Found`] reads the data.
    Found,
    /// The data is the [`Contact`] of a provider.
    Provider,
    /// The data is the [`Contact`] of a peer that is closer to the id.
    Nearest,
}

impl Answer {
    /// Returns the answer with this code, or `None` if the code is unknown.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Found),
            1 => Some(Self::Provider),
            2 => Some(Self::Nearest),
            _ => None,
        }
    }

    /// Returns the code, which is the byte in front of the id.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Found => 0,
            Self::Provider => 1,
            Self::Nearest => 2,
        }
    }
}

/// An object response.
///
/// ```
/// use astreum_core::atom::{Atom, HashedAtom};
/// use astreum_core::wire::object::{Answer, Found, Response, write_found_atom};
///
/// let atom = Atom::bytes(*b"abc");
/// let mut data = Vec::new();
/// write_found_atom(&mut data, &atom);
/// let response = Response { answer: Answer::Found, atom_id: atom.id(), data: &data };
/// let mut content = Vec::new();
/// response.write(&mut content);
///
/// let read = Response::decode(&content)?;
/// assert_eq!(Found::decode(&read.atom_id, read.data)?.atoms(), [HashedAtom::new(atom)]);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Response<'b> {
    /// Kind of the response, which determines the meaning of `data`.
    pub answer: Answer,
    /// Id of the requested atom.
    pub atom_id: AtomId,
    /// Data, of the type that [`Answer`] states.
    pub data: &'b [u8],
}

impl<'b> Response<'b> {
    /// Appends the response's bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_response_head(out, self.answer, &self.atom_id);
        out.extend_from_slice(self.data);
    }

    /// Reads a response.
    ///
    /// # Errors
    /// Fails if the bytes are too short or of an unknown type.
    pub fn decode(bytes: &'b [u8]) -> Result<Self, ObjectError> {
        let mut data = bytes;
        let (code, atom_id) = take_type_and_id(&mut data)?;
        let answer = Answer::from_code(code).ok_or(ObjectError::UnknownType { code })?;
        Ok(Self {
            answer,
            atom_id,
            data,
        })
    }
}

/// Appends a response without its data, which the caller then writes in place.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::wire::object::{Answer, Response, write_response_head};
/// let mut content = Vec::new();
/// write_response_head(&mut content, Answer::Found, &AtomId::new([7; 32]));
/// content.extend(b"data");
/// assert_eq!(Response::decode(&content).map(|response| response.data), Ok(&b"data"[..]));
/// ```
pub fn write_response_head(out: &mut Vec<u8>, answer: Answer, atom_id: &AtomId) {
    out.push(answer.code());
    out.extend_from_slice(atom_id.as_bytes());
}

/// Reason why the data of a found object is rejected. The sender is at fault.
///
/// ```
/// use astreum_core::atom::Atom;
/// use astreum_core::wire::object::{Found, FoundError, write_found_atom};
///
/// let (asked, other) = (Atom::symbol("a").id(), Atom::symbol("b"));
/// let mut data = Vec::new();
/// write_found_atom(&mut data, &other);
/// let error = FoundError::OtherAtom { actual: other.id() };
/// assert_eq!(Found::decode(&asked, &data), Err(error));
/// assert_eq!(Found::decode(&asked, &[]), Err(FoundError::Empty));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FoundError {
    /// No data, or an empty list.
    Empty,
    /// Neither an atom nor a list.
    UnknownPayload {
        /// Code of the payload type.
        code: u8,
    },
    /// The length of an atom is truncated, zero, or larger than the rest of the data.
    Truncated,
    /// Malformed atom.
    Atom(AtomError),
    /// The first atom is not the requested one.
    OtherAtom {
        /// Id of the first atom.
        actual: AtomId,
    },
}

impl fmt::Display for FoundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("answer without an atom"),
            Self::UnknownPayload { code } => {
                write!(
                    f,
                    "unknown payload type {code} in an answer: expected 1 (atom) or 2 (list)"
                )
            }
            Self::Truncated => f.write_str("invalid length of an atom in an answer"),
            Self::Atom(error) => error.fmt(f),
            Self::OtherAtom { actual } => {
                write!(f, "answer has atom {actual} instead of the requested one")
            }
        }
    }
}

impl core::error::Error for FoundError {}

const FOUND_ATOM: u8 = 1;
const FOUND_LIST: u8 = 2;
/// Size of the length prefix of each atom in a list, in bytes.
pub const FOUND_LENGTH_BYTES: usize = 4;

/// Payload of a found object. The first atom is the requested one.
///
/// The other atoms were not requested by id: the caller checks that they are linked to a list, by
/// the ids that are computed here from their content.
///
/// ```
/// use astreum_core::atom::{HashedAtom, bytes_list};
/// use astreum_core::wire::object::Found;
/// let (_, atoms) = bytes_list(&["one", "two"]);
/// let atoms: Vec<HashedAtom> = atoms.into_iter().map(HashedAtom::new).collect();
/// assert_eq!(Found::List(atoms.clone()).atoms(), atoms);
/// assert_eq!(Found::Atom(atoms[0].clone()).atoms(), &atoms[..1]);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// One atom.
    Atom(HashedAtom),
    /// A list, with at least one atom.
    List(Vec<HashedAtom>),
}

impl Found {
    /// Returns the atoms, the requested one first.
    #[must_use]
    pub fn atoms(&self) -> &[HashedAtom] {
        match self {
            Self::Atom(atom) => core::slice::from_ref(atom),
            Self::List(atoms) => atoms,
        }
    }

    /// Reads the data of a found object and checks that it starts with the atom `asked`.
    ///
    /// ```
    /// use astreum_core::atom::{HashedAtom, bytes_list};
    /// use astreum_core::wire::object::{Found, write_found_list};
    ///
    /// let (head, atoms) = bytes_list(&["one", "two"]);
    /// let mut data = Vec::new();
    /// write_found_list(&mut data, &atoms)?;
    /// let atoms = atoms.into_iter().map(HashedAtom::new).collect();
    /// assert_eq!(Found::decode(&head, &data)?, Found::List(atoms));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the data is malformed, is empty, or starts with another atom.
    pub fn decode(asked: &AtomId, data: &[u8]) -> Result<Self, FoundError> {
        let (&code, body) = data.split_first().ok_or(FoundError::Empty)?;
        match code {
            FOUND_ATOM => {
                let atom = decode_atom(body)?;
                check_first(asked, &atom)?;
                Ok(Self::Atom(atom))
            }
            FOUND_LIST => {
                let atoms = decode_list(body)?;
                check_first(asked, atoms.first().ok_or(FoundError::Empty)?)?;
                Ok(Self::List(atoms))
            }
            code => Err(FoundError::UnknownPayload { code }),
        }
    }
}

fn check_first(asked: &AtomId, first: &HashedAtom) -> Result<(), FoundError> {
    let actual = first.id();
    if actual == *asked {
        Ok(())
    } else {
        Err(FoundError::OtherAtom { actual })
    }
}

fn decode_atom(stored: &[u8]) -> Result<HashedAtom, FoundError> {
    let atom = Atom::from_bytes(stored).map_err(FoundError::Atom)?;
    Ok(HashedAtom::new(atom))
}

fn decode_list(mut body: &[u8]) -> Result<Vec<HashedAtom>, FoundError> {
    let mut atoms = Vec::new();
    while !body.is_empty() {
        let len = u32::from_be_bytes(*take(&mut body).ok_or(FoundError::Truncated)?);
        let len = usize::try_from(len).map_err(|_| FoundError::Truncated)?;
        let (stored, rest) = body
            .split_at_checked(len)
            .filter(|_| len > 0)
            .ok_or(FoundError::Truncated)?;
        atoms.push(decode_atom(stored)?);
        body = rest;
    }
    Ok(atoms)
}

/// Appends the data of a found object that consists of one atom.
///
/// ```
/// use astreum_core::atom::{Atom, HashedAtom};
/// use astreum_core::wire::object::{Found, write_found_atom};
/// let atom = Atom::bytes(*b"abc");
/// let mut data = Vec::new();
/// write_found_atom(&mut data, &atom);
/// assert_eq!((data[0], &data[1..]), (1, atom.to_bytes().as_slice()));
/// assert_eq!(Found::decode(&atom.id(), &data), Ok(Found::Atom(HashedAtom::new(atom))));
/// ```
pub fn write_found_atom(out: &mut Vec<u8>, atom: &Atom) {
    out.push(FOUND_ATOM);
    atom.write_to(out);
}

/// Error: an atom is too long for the four-byte length prefix in a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AtomTooLong;

impl fmt::Display for AtomTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("atom exceeds 4 GiB, the maximum in a list")
    }
}

impl core::error::Error for AtomTooLong {}

/// Appends the data of a found object that consists of a list of atoms, head first.
///
/// # Errors
/// Returns [`AtomTooLong`] if the length of an atom does not fit in four bytes; `out` then has an
/// incomplete list.
pub fn write_found_list<'a>(
    out: &mut Vec<u8>,
    atoms: impl IntoIterator<Item = &'a Atom>,
) -> Result<(), AtomTooLong> {
    out.push(FOUND_LIST);
    for atom in atoms {
        let len = u32::try_from(atom.stored_len()).map_err(|_| AtomTooLong)?;
        out.extend_from_slice(&len.to_be_bytes());
        atom.write_to(out);
    }
    Ok(())
}

/// Size of a contact, in bytes.
pub const CONTACT_BYTES: usize = 38;

/// Key and address of a peer: a provider of an atom, or a peer that is closer to its id. The format
/// supports only IPv4.
///
/// ```
/// use astreum_core::crypto::PublicKey;
/// use astreum_core::wire::object::{CONTACT_BYTES, Contact};
///
/// let address = "203.0.113.7:52780".parse().unwrap();
/// let contact = Contact { public_key: PublicKey::new([7; 32]), address };
/// let bytes = contact.encode();
/// assert_eq!(Contact::decode(&bytes), Ok(contact));
/// assert!(Contact::decode(&bytes[..CONTACT_BYTES - 1]).is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Contact {
    /// Key of the peer.
    pub public_key: PublicKey,
    /// Address at which the peer listens. Any address is accepted: the caller decides which peers
    /// to contact.
    pub address: SocketAddrV4,
}

/// Error: fewer than the 38 bytes of a contact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContactTooShort {
    /// Length of the input, in bytes.
    pub len: usize,
}

impl fmt::Display for ContactTooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "contact is too short: expected {CONTACT_BYTES} bytes, found {}",
            self.len
        )
    }
}

impl core::error::Error for ContactTooShort {}

impl Contact {
    /// Encodes the contact.
    #[must_use]
    pub fn encode(&self) -> [u8; CONTACT_BYTES] {
        let mut bytes = [0; CONTACT_BYTES];
        let (key, rest) = bytes.split_at_mut(32);
        let (ip, port) = rest.split_at_mut(4);
        key.copy_from_slice(self.public_key.as_bytes());
        ip.copy_from_slice(&self.address.ip().octets());
        port.copy_from_slice(&self.address.port().to_be_bytes());
        bytes
    }

    /// Reads a contact. Ignores trailing bytes, as the reference does.
    ///
    /// # Errors
    /// Returns [`ContactTooShort`] if there are fewer than 38 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContactTooShort> {
        let too_short = ContactTooShort { len: bytes.len() };
        let mut rest = bytes;
        let public_key = PublicKey::new(*take(&mut rest).ok_or(too_short)?);
        let ip = Ipv4Addr::from(*take(&mut rest).ok_or(too_short)?);
        let port = take_u16(&mut rest).ok_or(too_short)?;
        Ok(Self {
            public_key,
            address: SocketAddrV4::new(ip, port),
        })
    }
}

#[cfg(test)]
mod tests;
