using Nola.Tensors;

namespace Nola.Train;

/// <summary>A loss or gradient became infinite or no number: the settings are to blame, and the same run would end the same way.</summary>
public sealed class DivergedException(string message) : NolaException(message);
