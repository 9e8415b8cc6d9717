//! Clears sections of an ELF file in memory (64 bits, little endian, as the kernel objects are). The loader walks all
//! sections at each load, and debug sections are thirty times as large as the programs.

/// Positions of `e_shoff`, `e_shentsize`, `e_shnum` and `e_shstrndx` in the file's header.
const SECTIONS: usize = 0x28;
const ENTRY_SIZE: usize = 0x3a;
const ENTRIES: usize = 0x3c;
const NAMES: usize = 0x3e;
/// Positions of `sh_offset` and `sh_size` in a section's header, which begins with `sh_name` and `sh_type`.
const OFFSET: usize = 24;
const SIZE: usize = 32;

/// Removes name, type and content of every section whose name is `needless`. Returns the number of cleared sections;
/// `None` if the file has another format.
pub(super) fn clear_sections(file: &mut [u8], needless: impl Fn(&str) -> bool) -> Option<usize> {
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (first, size) = (word(file, SECTIONS)?, half(file, ENTRY_SIZE)?);
    let header = |number: usize| first.checked_add(number.checked_mul(size)?);
    let names = word(file, header(half(file, NAMES)?)?.checked_add(OFFSET)?)?;
    let mut cleared = 0;
    for number in 1..half(file, ENTRIES)? {
        let at = header(number)?;
        let name = names.checked_add(long(file, at)?)?;
        let name: Vec<u8> = file.get(name..)?.iter().copied().take_while(|byte| *byte != 0).collect();
        if std::str::from_utf8(&name).is_ok_and(&needless) {
            file.get_mut(at..at.checked_add(8)?)?.fill(0);
            file.get_mut(at.checked_add(SIZE)?..at.checked_add(SIZE + 8)?)?.fill(0);
            cleared += 1;
        }
    }
    Some(cleared)
}

fn half(file: &[u8], at: usize) -> Option<usize> {
    file.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes).into())
}

fn long(file: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(*file.get(at..)?.first_chunk()?)).ok()
}

fn word(file: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(*file.get(at..)?.first_chunk()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_format_is_left_alone() {
        for bytes in [&b""[..], b"\x7fELF\x02\x01", &[0x7f; 256]] {
            let mut file = bytes.to_vec();
            assert_eq!(clear_sections(&mut file, |_| true), None);
            assert_eq!(file, bytes);
        }
    }

    /// This test's own executable is such a file.
    #[test]
    fn a_cleared_section_has_no_name_any_more() {
        let mut file = std::fs::read("/proc/self/exe").expect("the program");
        let text = |name: &str| name == ".text";
        assert_eq!(clear_sections(&mut file, text), Some(1));
        assert_eq!(clear_sections(&mut file, text), Some(0));
        assert_eq!(clear_sections(&mut file, |name| name == ".data"), Some(1), "the others stay");
    }
}
