namespace Nola.Models;

/// <summary>The tokens of a request for whoever asked. Leaving the enumeration ends the request, also before its first token.</summary>
internal sealed class ServedTokens(ServedRequest served, CancellationToken cancel) : IAsyncEnumerable<GeneratedToken>
{
    public IAsyncEnumerator<GeneratedToken> GetAsyncEnumerator(CancellationToken cancellationToken = default) =>
        new Enumerator(served, cancel, cancellationToken);

    private sealed class Enumerator : IAsyncEnumerator<GeneratedToken>
    {
        private readonly ServedRequest served;
        private readonly CancellationTokenSource either;
        private readonly CancellationTokenRegistration registration;
        private readonly IAsyncEnumerator<GeneratedToken> tokens;

        public Enumerator(ServedRequest served, CancellationToken one, CancellationToken another)
        {
            this.served = served;
            either = CancellationTokenSource.CreateLinkedTokenSource(one, another);
            registration = another.UnsafeRegister(static self => ((ServedRequest)self!).Cancel(), served);
            tokens = served.ReadAllAsync(either.Token).GetAsyncEnumerator(CancellationToken.None);
        }

        public GeneratedToken Current => tokens.Current;

        public ValueTask<bool> MoveNextAsync() => tokens.MoveNextAsync();

        public async ValueTask DisposeAsync()
        {
            served.Cancel();
            registration.Unregister();
            await tokens.DisposeAsync().ConfigureAwait(false);
            either.Dispose();
        }
    }
}
