namespace Nola.Train.Metrics;

/// <summary>
/// The character patterns of the Penn Treebank tokenizer, in the syntax of <see cref="PatternCompiler"/>: outside brackets
/// a letter stands for both of its cases, inside brackets for itself, which is how a few abbreviations (<c>[M]iss.</c>) are
/// kept apart from words.
/// </summary>
internal static class PtbPatterns
{
    // White space
    public const string Space = @"[ \t\u00A0\u2000-\u200A\u3000]";
    public const string LineEnd = @"(\r|\r?\n|[\u2028\u2029\u000B\u000C\u0085])";
    public const string Blank = "(" + Space + "|" + LineEnd + ")";

    // Letters: also combining marks and modifiers of the scripts up to Lao, the soft hyphen, and a few entities.
    private const string Marks =
        @"[\u00AD\u02C2-\u02C5\u02D2-\u02DF\u02E5-\u036F\u0375\u0384\u0385\u03F6\u0483-\u0487\u055A-\u055F\u0591-\u05BD"
        + @"\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7\u0615-\u061A\u064B-\u065E\u0670\u06D6-\u06EF\u06FA-\u06FF\u070F\u0711"
        + @"\u0730-\u074A\u07A6-\u07B0\u07EB-\u07F3\u0900-\u0903\u093C\u093E-\u094E\u0951-\u0955\u0962\u0963\u0981-\u0983"
        + @"\u09BC-\u09CD\u09D7\u09E2\u09E3\u0A01-\u0A03\u0A3C-\u0A4F\u0A81-\u0A83\u0ABC-\u0ACF\u0B82\u0BBE-\u0BCD"
        + @"\u0C01-\u0C03\u0C3E-\u0C56\u0D3E-\u0D48\u0E31-\u0E3A\u0E47-\u0E4E\u0EB1-\u0EBC\u0EC8-\u0ECD]";
    public const string Letter = @"(\p{L}|&[aeiouAEIOU](acute|grave|uml);|" + Marks + ")";
    public const string Digit = @"\p{Nd}";
    private const string LetterOrDigit = "(" + Letter + "|" + Digit + ")";
    private const string PlainLetterOrDigit = @"[\p{L}\p{Nd}]";
    private const string Apostrophe = @"(['\u0092\u2019]|&apos;)";
    private const string AnyApostrophe = @"(['\u0092\u2019`\u0091\u2018\u201B]|&apos;)";

    // Words
    public const string Word = Letter + LetterOrDigit + @"*([.!?]" + Letter + LetterOrDigit + "*)*";
    public const string Clitic = Apostrophe + "([msdMSD]|re|ve|ll)";
    public const string NegatedVerb = @"[A-Za-z\u00AD]*[A-MO-Za-mo-z]\u00AD*";
    public const string Negation = "n" + AnyApostrophe + "t";
    public const string WithApostrophe = Apostrophe + "n" + Apostrophe + "?|[lLdDjJ]" + Apostrophe + "|Dunkin" + Apostrophe
        + "|somethin" + Apostrophe + "|ol" + Apostrophe + "|" + Apostrophe + "em|[A-HJ-XZn]" + AnyApostrophe + @"\p{L}\p{L}+|"
        + Apostrophe + "[2-9]0s|" + Apostrophe + @"till?|\p{L}+[aeiouyAEIOUY]" + AnyApostrophe + @"[aeiouA-Z]\p{L}*|"
        + Apostrophe + @"cause|cont'd\.?|'twas|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l|O" + AnyApostrophe + "o";
    public const string YouClitic = "y" + Apostrophe;
    public const string Decade = Apostrophe + "[0-9][0-9]";
    private const string ThingStart = "([dDoOlL]" + AnyApostrophe + PlainLetterOrDigit + ")?" + PlainLetterOrDigit + "+";
    public const string Thing = ThingStart + @"([-_\u058A\u2010\u2011]" + ThingStart + ")*";
    public const string Joined = "[A-Z]+(([+&]|&amp;)[A-Z]+)+";
    public const string Slashed = @"[A-Za-z0-9]+(-[A-Za-z]+){0,2}(\\?\/[A-Za-z0-9]+(-[A-Za-z]+){0,2}){1,2}";
    public const string Hyphenated = LetterOrDigit + @"[A-Za-z0-9.,\u00AD]*(-([A-Za-z0-9\u00AD]+|" + LongInitials + @"\.))+";
    public const string Bank = "-(RRB|LRB|RCB|LCB|RSB|LSB)-|C\\.D\\.s|pro-|anti-|S(&|&amp;)P-500|S(&|&amp;)Ls|Cap"
        + Apostrophe + "n|c" + Apostrophe + @"est|f\*[c*]k(in[g']|e[dr])?|sh\*t(ty)?";

    // Initials and abbreviations
    private const string Partners = @"|(Canada|Sino|Korean|EU|Japan|non)-U\.S|U\.S\.-(U\.K|U\.S\.S\.R)";
    public const string Initials = @"([A-Za-z](\.[A-Za-z])*" + Partners + ")";
    private const string LongInitials = @"([A-Za-z](\.[A-Za-z])+" + Partners + ")";
    private const string Months = "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec";
    private const string Days = "Mon|Tues?|Wed|Thu|Thurs|Fri";
    private const string States =
        "Ala|Ariz|[A]z|[A]rk|Calif|Colo|Conn|Ct|Dak|[D]el|Fla|Ga|[I]ll|Ind|Kans?|Ky|[L]a|[M]ass|Md|Mich|Minn|[M]iss|Mo|Mont|"
        + "Neb|Nev|Okla|[O]re|[P]a|Penn|Tenn|[T]ex|Va|Vt|[W]ash|Wisc?|Wyo";
    private const string Companies = "Inc|Cos?|Corp|Pp?t[ye]s?|Ltd|Plc|Rt|Bancorp|Bhd|Assn|Univ|Intl|Sys";
    private const string Titles =
        "Mr|Mrs|Ms|[M]iss|Drs?|Profs?|Sens?|Reps?|Attys?|Lt|Col|Gen|Messrs|Govs?|Adm|Rev|Maj|Sgt|Cpl|Pvt|Capt|Ste?|Ave|Pres|"
        + "Lieut|Hon|Brig|Co?mdr|Pfc|Spc|Supts?|Det|Mt|Ft|Adj|Adv|Asst|Assoc|Ens|Insp|Mlle|Mme|Msgr|Sfc";

    /// <summary>Abbreviations that end a sentence where a capital follows.</summary>
    public const string Closing = "(" + Months + "|" + Days + "|" + States + "|"
        + Companies + @"|tel|est|ext|sq|Jr|Sr|Bros|(Ed|Ph)\.D|Blvd|Rd|Esq|etc|al|seq|Bldg)\.";

    /// <summary>Abbreviations that never end one, without their full stop.</summary>
    public const string Opening = "(" + Titles + @"|vs|[v]|Alex|Wm|Jos|Cie|a\.k\.a|cf|TREAS|Ph|"
        + Initials + "|Invt|Elec|Natl|M[ft]g|Dept)";

    /// <summary>Abbreviations only before a number.</summary>
    public const string Numbering = @"(ca|figs?|prop|nos?|sect?s?|arts?|bldg|prop|pp|op)\.";

    /// <summary>Words that begin a sentence, so that initials before them end one.</summary>
    public const string SentenceStart =
        @"([A]bout|[A]ccording|[A]dditionally|[A]fter|[A]n|[A]|[A]s|[A]t|[B]ut|[D]id|[D]uring|[E]arlier|[H]e|[H]er|[H]ere|[H]ow|"
        + @"[H]owever|[I]f|[I]n|[I]t|[L]ast|[M]any|[M]ore|[M]r\.|[M]s\.|[N]ow|[O]nce|[O]ne|[O]ther|[O]ur|[S]he|[S]ince|[S]o|"
        + @"[S]ome|[S]uch|[T]hat|[T]he|[T]heir|[T]hen|[T]here|[T]hese|[T]hey|[T]his|[W]e|[W]hen|[W]hile|[W]hat|[W]ho|[W]hy|[Y]et|"
        + @"[Y]ou|"
        + Markup + ")";

    // Numbers and money
    public const string Date = Digit + @"{1,2}[-\/]" + Digit + @"{1,2}[-\/]" + Digit + "{2,4}";
    public const string Number = @"[-+]?(" + Digit + "+|" + Digit + @"*([.:,\u00AD\u066B\u066C]" + Digit + "+)+)";
    public const string Raised = @"[\u207A\u207B\u208A\u208B]?([\u2070\u00B9\u00B2\u00B3\u2074-\u2079]+|[\u2080-\u2089]+)";
    public const string Fraction = "(" + Digit + @"{1,4}[- \u00A0])?" + Digit + @"{1,4}(\\?\/|\u2044)" + Digit + "{1,4}";
    public const string FractionSign = @"[\u00BC-\u00BE\u2153-\u215E]";
    public const string Dollar = @"[A-Z]*\$|#";
    public const string Currency = @"[\u00A2-\u00A5\u0080\u20A0\u20AC\u060B\u0E3F\u20A4\uFFE0\uFFE1\uFFE5\uFFE6]";
    public const string Phone =
        @"(\([0-9]{2,3}\)[ \u00A0]?|(\+\+?)?([0-9]{2,4}[- \u00A0])?[0-9]{2,4}[- \u00A0])[0-9]{3,4}[- \u00A0]?[0-9]{3,5}|"
        + @"((\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}";
    public const string Instant = @"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[x0-9]{2}:[0-9]{2}Z?|°[CF]";

    // The web
    private const string Tag = @"[A-Za-z][A-Za-z0-9_:.\-]*";
    public const string Markup = @"<([!?][A-Za-z\-][^>\r\n]*|"
        + Tag + "( +(" + Tag + "|" + Tag + " *= *('[^']*'|\"[^\"]*\"|" + Tag + @")))* *\/?|\/" + Tag + ") *>";
    public const string Address = "https?:\\/\\/[^ \\t\\n\\f\\r\"<>|(){}]+[^ \\t\\n\\f\\r\"<>|.!?(){},\\-]";
    public const string Site = "((www\\.([^ \\t\\n\\f\\r\"<>|.!?(){},]+\\.)+[a-zA-Z]{2,4})"
        + "|(([^ \\t\\n\\f\\r\"`'<>|.!?(){},-_$]+\\.)+(com|net|org|edu)))"
        + "(\\/[^ \\t\\n\\f\\r\"<>|()]+[^ \\t\\n\\f\\r\"<>|.!?(){},\\-])?";
    public const string Mail = "(&lt;|<)?[a-zA-Z0-9][^ \\t\\n\\f\\r\"<>|()\\u00A0{}]*@"
        + "([^ \\t\\n\\f\\r\"<>|(){}.\\u00A0]+\\.)*([^ \\t\\n\\f\\r\"<>|(){}.\\u00A0]+)(&gt;|>)?";
    public const string Handle = @"[@\uFF20][a-zA-Z_][a-zA-Z_0-9]*|[#\uFF03]" + Letter + "(" + LetterOrDigit + "|_)*" + LetterOrDigit;
    public const string FileName = LetterOrDigit + "+([-._\\/]" + LetterOrDigit
        + @"+)*\.(bat|bmp|bz2|c|class|cgi|cpp|dll|docx?|exe|gif|gz|h|html?|jar|java|jpe?g|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|"
        + @"tar|txt|wav|x|xml|zip|3gp|wm[va]|avi|flv|mp[34g])";

    // Signs
    public const string SentenceSign = @"[,;:\u3001]";
    public const string FullStop = @"[.¡¿\u037E\u0589\u061F\u06D4\u0700-\u0702\u07FA\u3002]";
    public const string Quotes = Apostrophe + @"|''|[`\u2018-\u201F\u0091-\u0094\u2039\u203A\u00AB\u00BB]{1,2}";
    public const string DoubleQuote = "(\"|&quot;)";
    public const string Ellipsis = @"(\.\.\.+|[\u0085\u2026])";
    public const string SpacedEllipsis = @"\.[ \u00A0](\.[ \u00A0])+\.";
    public const string Smiley = @"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]]";
    public const string EasternSmiley =
        @"[\^x=~<>]\.\[\^x=~<>]|[-\^x=~<>']_[-\^x=~<>']|\([-\^x=~<>'][_.]?[-\^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)";
    public const string Symbol =
        @"[+%&~\^|\\¦§¨©¬®¯°-³´-º×÷\u0387\u05BE\u05C0\u05C3\u05C6\u05F3\u05F4\u0600-\u0603\u0606-\u060A\u060C\u0614\u061B"
        + @"\u061E\u066A\u066D\u0703-\u070D\u07F6-\u07F8\u0964\u0965\u0E4F\u1FBD\u2016\u2017\u2020-\u2023\u2030-\u2038\u203B"
        + @"\u203E-\u2044\u207A-\u207F\u208A-\u208E\u2100-\u214F\u2190-\u2BFF\u3001-\u3006\u3008-\u3020\u30FB\uFF01-\uFF0F"
        + @"\uFF1A-\uFF20\uFF3B-\uFF40\uFF5B-\uFF65]";
    public const string Entity = "&(HT|TL|UR|LR|QC|QL|QR|odq|cdq|#[0-9]+);";
    public const string Dash = @"&(MD|mdash|ndash);|[\u0096\u0097\u2013-\u2015]";
}
