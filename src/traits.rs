//! Floor 1: implementations of `std`'s traits that many types share.

/// Implements `UnwindSafe` and `RefUnwindSafe`, whatever the type's parameters are. The type says
/// why it may: usually because a panic leaves nothing behind that breaks a promise.
///
/// ```text
/// unwind_safe!([T] Feed<T>);
/// ```
macro_rules! unwind_safe {
    ([$($generics:tt)*] $type:ty) => {
        impl<$($generics)*> std::panic::UnwindSafe for $type {}
        impl<$($generics)*> std::panic::RefUnwindSafe for $type {}
    };
    ($type:ty) => {
        $crate::traits::unwind_safe!([] $type);
    };
}
pub(crate) use unwind_safe;

/// Implements `Clone` for a handle of one field, whatever its type parameter is. A derive would ask
/// for `T: Clone`.
///
/// ```text
/// clone_handle!(Feed<T> { handle });
/// ```
macro_rules! clone_handle {
    ($type:ident<T> { $field:ident }) => {
        impl<T> Clone for $type<T> {
            fn clone(&self) -> Self {
                Self {
                    $field: self.$field.clone(),
                }
            }
        }
    };
}
pub(crate) use clone_handle;

/// Implements `Debug` for a type that shows some of its state, or figures in place of its state.
/// Type parameters need no `Debug`.
///
/// ```text
/// debug_struct!([T] Feed<T>, |this| Feed { subscribers: this.subscriber_count() });
/// ```
macro_rules! debug_struct {
    ([$($generics:tt)*] $type:ty, |$this:ident| $name:ident {
        $($field:ident: $value:expr),+ $(,)?
    }) => {
        impl<$($generics)*> std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let $this = self;
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), &$value))+
                    .finish_non_exhaustive()
            }
        }
    };
    ($type:ty, $($shown:tt)+) => {
        $crate::traits::debug_struct!([] $type, $($shown)+);
    };
}
pub(crate) use debug_struct;
