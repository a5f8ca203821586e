//! Counts the steps of reading in tests and under a fuzzer, so that they can hold the work to a bound; elsewhere nothing.

/// Most steps per byte read: 256 attributes whose names have to be compared with each other, in as few bytes as they fit.
#[cfg(any(test, fuzzing))]
pub const MAX_STEPS_PER_BYTE: usize = 64;

#[cfg(any(test, fuzzing))]
thread_local! {
    static STEPS: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

/// Notes `count` steps: values read or names compared.
#[inline(always)]
pub(crate) fn step(count: usize) {
    #[cfg(any(test, fuzzing))]
    STEPS.set(STEPS.get() + count);
    let _ = count;
}

/// The steps of this thread since the last call.
#[cfg(any(test, fuzzing))]
pub fn take() -> usize {
    STEPS.take()
}

#[cfg(test)]
mod tests {
    use super::{MAX_STEPS_PER_BYTE, take};
    use crate::{Limits, decode, visit, xml};

    fn frame(attrs: usize, name: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
        let size = u16::try_from(1 + 2 * attrs).unwrap().to_be_bytes();
        let mut frame = vec![0, 249, size[0], size[1], 5];
        for i in 0..attrs {
            frame.extend(name(i));
            frame.push(5);
        }
        frame
    }

    fn spent(frame: &[u8]) -> usize {
        take();
        let _ = decode(frame, &Limits::default());
        take()
    }

    /// The worst shapes known, alone and repeated: the work grows with the frame, not with its square.
    #[test]
    fn binary_work_is_linear() {
        // Packed names have to be compared one by one; 253 is HEX_8, 2 bytes of it.
        let packed = frame(256, |i| vec![251, 2, (i >> 8) as u8, i as u8]);
        let raw = frame(256, |i| [vec![252, 4], format!("{i:04}").into_bytes()].concat());
        let nested = [vec![0], [248, 2, 5, 248, 1].repeat(31), vec![248, 1, 5]].concat();
        for shape in [&packed, &raw, &nested] {
            assert!(decode(shape, &Limits::default()).is_ok());
            let many = shape.len() * 100;
            let mut list = vec![0, 248, 2, 5, 248, 100];
            list.extend(shape.get(1..).unwrap().repeat(100));
            let limits = Limits::default().with_max_depth(40);
            take();
            decode(&list, &limits).unwrap();
            let steps = take();
            assert!(steps > 0 && steps < MAX_STEPS_PER_BYTE * many, "{steps} for {many}");
            assert!(steps < 101 * spent(shape).max(1) + 1_000, "{steps}");
        }
    }

    #[test]
    fn any_frame_is_linear() {
        proptest::proptest!(|(bytes: Vec<u8>)| {
            let body = bytes;
            take();
            struct Nothing;
            impl<'a> crate::Visitor<'a> for Nothing {
                fn start(&mut self, _: crate::TextRef<'a>, _: usize) {}
                fn attr(&mut self, _: crate::TextRef<'a>, _: crate::ValueRef<'a>) {}
                fn bytes(&mut self, _: &'a [u8]) {}
                fn text(&mut self, _: crate::ValueRef<'a>) {}
                fn end(&mut self) {}
            }
            let _ = visit(&body, &Limits::default(), &mut Nothing);
            proptest::prop_assert!(take() <= MAX_STEPS_PER_BYTE * (body.len() + 1));
        });
    }

    #[test]
    fn xml_work_is_linear() {
        let declared: String = (0..60).map(|i| format!(" xmlns:p{i}='u'")).collect();
        let prefixed = "<p59:x/>".repeat(5_000);
        let attrs: String = (0..256).map(|i| format!(" a{i}=''")).collect();
        let spaces = " ".repeat(10_000);
        for text in [
            format!("<a{declared}>{prefixed}</a>"),
            format!("<a>{}</a>", format!("<b{attrs}/>").repeat(50)),
            format!("<a>{spaces}{}{spaces}</a>", "<b/>".repeat(1_000)),
            format!(
                "<a>{spaces}{}</a>",
                (0..256).map(|i| format!("<c:attr name='a{i}' value=''/>")).collect::<String>()
            ),
        ] {
            take();
            xml::parse(text.as_bytes(), &Limits::default()).unwrap();
            let steps = take();
            assert!(steps > 0 && steps <= MAX_STEPS_PER_BYTE * text.len(), "{steps} for {}", text.len());
        }
    }
}
