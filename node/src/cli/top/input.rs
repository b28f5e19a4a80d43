//! Keys of the user.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::Action;

/// More lines than any list has.
const ALL: isize = isize::MAX;

/// Returns the action of a key, if it has one.
pub(super) fn action(key: &KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('z') => Some(Action::Suspend),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Esc => Action::Back,
        KeyCode::Char('p' | ' ') => Action::Pause,
        KeyCode::Char('?' | 'h') => Action::Help,
        KeyCode::Tab | KeyCode::Right => Action::List { next: true },
        KeyCode::BackTab | KeyCode::Left => Action::List { next: false },
        KeyCode::Up | KeyCode::Char('k') => Action::Scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => Action::Scroll(1),
        KeyCode::PageUp => Action::Page(-1),
        KeyCode::PageDown => Action::Page(1),
        KeyCode::Home => Action::Scroll(-ALL),
        KeyCode::End => Action::Scroll(ALL),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_c_quits_and_a_plain_c_does_not() {
        let key = |code, modifiers| action(&KeyEvent::new(code, modifiers));
        let c = KeyCode::Char('c');
        assert_eq!(key(c, KeyModifiers::CONTROL), Some(Action::Quit));
        assert_eq!(key(c, KeyModifiers::NONE), None);
        let q = KeyCode::Char('q');
        assert_eq!(key(q, KeyModifiers::NONE), Some(Action::Quit));
        assert_eq!(key(q, KeyModifiers::CONTROL), None);
        assert_eq!(
            key(KeyCode::BackTab, KeyModifiers::SHIFT),
            Some(Action::List { next: false })
        );
        let end = key(KeyCode::End, KeyModifiers::NONE);
        assert_eq!(end, Some(Action::Scroll(isize::MAX)));
    }
}
