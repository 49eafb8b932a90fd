//! What can be memoized: functions and closures, by the tuple of their arguments.

use std::future::Future;

use nanotier_tier::BoxFuture;

/// A function or closure of up to seven arguments, given here as a tuple.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be memoized as a function of `{A}`",
    note = "it is a function or a closure of up to seven arguments whose types are written down, that is `Send + Sync` and owns what it uses: `move |id: u64, name: String| ..`",
    note = "an argument is part of the key and owns what it is: `String` where the function takes `&str`"
)]
pub trait Function<A>: Send + Sync + 'static {
    /// What it returns.
    type Output;

    /// Runs it.
    fn run(&self, arguments: A) -> Self::Output;
}

/// An asynchronous function or closure of up to seven arguments, given here as a tuple.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be memoized as an asynchronous function of `{A}`",
    note = "it is an `async fn` or an `async move |..| ..` of up to seven arguments whose types are written down, that owns what it uses, is `Clone`, and whose future is `Send`",
    note = "an argument is part of the key and owns what it is: `String` where the function takes `&str`"
)]
pub trait AsyncFunction<A>: Send + Sync + 'static {
    /// What its future becomes.
    type Output;

    /// Begins it.
    fn begin(&self, arguments: A) -> BoxFuture<'static, Self::Output>;
}

macro_rules! functions {
    ($($name:ident)*) => {
        impl<Func, Out, $($name),*> Function<($($name,)*)> for Func
        where
            Func: Fn($($name),*) -> Out + Send + Sync + 'static,
        {
            type Output = Out;

            #[allow(non_snake_case, reason = "the type's name is at hand for its value")]
            fn run(&self, ($($name,)*): ($($name,)*)) -> Out {
                self($($name),*)
            }
        }

        // Called once and cloned before, since what an async closure captured is borrowed by its future otherwise.
        impl<Func, Fut, $($name),*> AsyncFunction<($($name,)*)> for Func
        where
            Func: FnOnce($($name),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future + Send + 'static,
        {
            type Output = Fut::Output;

            #[allow(non_snake_case, reason = "the type's name is at hand for its value")]
            fn begin(&self, ($($name,)*): ($($name,)*)) -> BoxFuture<'static, Fut::Output> {
                Box::pin(self.clone()($($name),*))
            }
        }
    };
}
functions! {}
functions! { A }
functions! { A B }
functions! { A B C }
functions! { A B C D }
functions! { A B C D E }
functions! { A B C D E F }
functions! { A B C D E F G }
