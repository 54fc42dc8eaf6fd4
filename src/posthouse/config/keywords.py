"""Channel keywords: what each one eats, and which ones stand in each other's place (imta-cnf 3.1, 3.2).

A keyword of a group puts out earlier keywords of the same group; any keyword puts out an earlier one of its own name.
"""

from enum import Enum, auto


class Takes(Enum):
    """What follows a keyword."""

    NOTHING = auto()
    NUMBER = auto()
    TEXT = auto()
    AGES = auto()
    """up to five increasing positive numbers, as long as numbers come"""
    DURATIONS = auto()
    """one to eight ISO 8601 durations, as long as they come"""
    ONE_OR_TWO = auto()
    HOSTS = auto()
    """one host or more, as long as words look like hosts"""


_NUMBERS = """
    addrsperfile addrsperjob alternateblocklimit blocklimit sourceblocklimit deferralrejectlimit deliveryflags
    disconnectbadauthlimit disconnectbadcommandlimit disconnectrecipientlimit disconnectrejectlimit disconnecttransactionlimit
    expandlimit filesperjob headerlimit holdlimit linelength linelimit maxblocks maxheaderaddrs maxheaderchars maxjobs maxlines
    maxprocchars parameterlengthlimit nameparameterlengthlimit port recipientcutoff recipientlimit streaming subdirs threaddepth
    transactionlimit minperiodicnonurgent maxperiodicnonurgent missingrecipientpolicy alternatelinelimit
    alternaterecipientlimit headerlabelalign headerlinelength urgentblocklimit normalblocklimit nonurgentblocklimit
"""
_TEXTS = """
    after alternatechannel aliasdetourhost aliasoptindetourhost charset7 charset8 charsetesc daemon description
    destinationfilter sourcefilter channelfilter filter fileinto dispositionchannel notificationchannel expandchannel
    interfaceaddress language lastresort pool saslswitchchannel tlsswitchchannel userswitchchannel sourceconversiontag user
    sourcenosolicit destinationnosolicit sourcebrightmailoptin destinationbrightmailoptin
    sourcespamfilter1optin sourcespamfilter2optin sourcespamfilter3optin sourcespamfilter4optin
    sourcespamfilter5optin sourcespamfilter6optin sourcespamfilter7optin sourcespamfilter8optin
    destinationspamfilter1optin destinationspamfilter2optin destinationspamfilter3optin destinationspamfilter4optin
    destinationspamfilter5optin destinationspamfilter6optin destinationspamfilter7optin destinationspamfilter8optin
"""
_NOTHING = """
    smtp smtp_crlf smtp_cr smtp_crorlf smtp_lf nosmtp lmtp multigate nomultigate connectcanonical connectalias mx nomx
    defaultmx randommx nonrandommx nodns defaultnameservers dequeue_removeroute enqueueremoveroute routelocal noroutelocal
    single single_sys multiple master slave bidirectional periodic immediate immnonurgent immnormal immurgent sendpost
    nosendpost errsendpost copysendpost warnpost nowarnpost errwarnpost copywarnpost postheadonly postheadbody defragment
    nodefragment flagtransfer noflagtransfer switchchannel noswitchchannel allowswitchchannel identnone identnonelimited
    identnonenumeric identnonesymbolic identtcp identtcplimited identtcpnumeric identtcpsymbolic remotehost noremotehost
    maytls maytlsclient maytlsserver musttls musttlsclient musttlsserver notls notlsclient notlsserver maysasl maysaslclient
    maysaslserver mustsasl mustsaslclient mustsaslserver nosasl nosaslclient nosaslserver submit nosubmit aliaslocal
    viaaliasrequired viaaliasoptional aliaspostmaster noaliaspostmaster subaddressexact subaddresswild subaddressrelaxed
    sourceroute 822 percents percentonly 733 uucp exproute noexproute improute noimproute header_822 header_733 header_uucp
    header_973 inner noinner innertrim noinnertrim headertrim noheadertrim headerread noheaderread notary nonotary
    notificationdefault logging nologging logheader nologheader loopcheck noloopcheck restricted unrestricted domainetrn
    allowetrn silentetrn blocketrn sendetrn nosendetrn novrfy domainvrfy localvrfy vrfyallow vrfydefault vrfyhide rules
    norules mailfromdnsverify nomailfromdnsverify fallback reverse noreverse holdexquota noexquota noaddreturnpath
    addreturnpath expnallow expndefault expndisable serviceall noserviceall
    convert_octet_stream noconvert_octet_stream thurman nothurman ignoreencoding interpretencoding
    ignoremessageencoding interpretmessageencoding ignoremultipartencoding interpretmultipartencoding nomsexchange msexchange
    ehlo checkehlo noehlo eightbit eightnegotiate eightstrict sevenbit nobangoverpercent bangoverpercent authrewrite
    noauthrewrite dropblank nodropblank noblocklimit nolinelimit fixsyntax nofixsyntax
    deletemessagehash generatemessagehash keepmessagehash receivedfor noreceivedfor receivedfrom noreceivedfrom
    personalinc personalomit personalstrip sensitivitycompanyconfidential sensitivitynormal sensitivitypersonal
    sensitivityprivate commentinc commentmap commentomit commentstrip
    commenttotal dayofweek nodayofweek defertemporaryfailures accepttemporaryfailures
    acceptalladdresses acceptvalidaddresses destinationbrightmail destinationspamfilter1 destinationspamfilter2
    nodeferred deferred nofilter nochannelfilter nosourcefilter
    nodestinationfilter validatelocalnone validatelocalsystem validatelocalmsgstore dispositiondefault unrestricted
    rejectsmtp rejectsmtplonglines truncatesmtp
    wrapsmtp wrapsmtplonglines truncatesmtplonglines allowsmtplonglines suppressfinal includefinal
    master_debug nomaster_debug slave_debug noslave_debug bangstyle norestricted nodefaulthost nofileinto disableetrn
    cacheeverything cachefailures cachesuccesses nocache datefour datetwo x_env_to nox_env_to personalmap
    sourcecommentinc sourcecommentmap sourcecommentomit sourcecommentstrip sourcecommenttotal
    sourcepersonalinc sourcepersonalmap sourcepersonalomit sourcepersonalstrip
    forwardcheckdelete forwardchecknone forwardchecktag useintermediate nosaslswitchchannel saslpassauth nosaslpassauth
    chunkingclient nochunkingclient chunkingserver nochunkingserver usepermanenterror usetemporaryerror
    addresssrs noaddresssrs destinationsrs nodestinationsrs sourcesrs nosourcesrs spfnone spfhelo spfmailfrom spfrcptto
    sourcebrightmail sourcespamfilter1 sourcespamfilter2 sourcespamfilter3 sourcespamfilter4 sourcespamfilter5
    sourcespamfilter6 sourcespamfilter7 sourcespamfilter8 destinationspamfilter3 destinationspamfilter4
    destinationspamfilter5 destinationspamfilter6 destinationspamfilter7 destinationspamfilter8
    disablesourcespamfilter1 disablesourcespamfilter2 disablesourcespamfilter3 disablesourcespamfilter4
    disabledestinationspamfilter1 disabledestinationspamfilter2 disabledestinationspamfilter3
    disabledestinationspamfilter4
"""

TAKES: dict[str, Takes] = {
    **dict.fromkeys(_NOTHING.split(), Takes.NOTHING),
    **dict.fromkeys(_NUMBERS.split(), Takes.NUMBER),
    **dict.fromkeys(_TEXTS.split(), Takes.TEXT),
    **dict.fromkeys(("notices", "nonurgentnotices", "normalnotices", "urgentnotices"), Takes.AGES),
    **dict.fromkeys(("backoff", "nonurgentbackoff", "normalbackoff", "urgentbackoff"), Takes.DURATIONS),
    "defaulthost": Takes.ONE_OR_TWO,
    "nameservers": Takes.HOSTS,
}
LEAST: dict[str, int] = {
    "subdirs": 1,
    "maxjobs": 1,
    "threaddepth": 1,
    "port": 1,
    "addrsperfile": 1,
    "addrsperjob": 1,
}
MOST: dict[str, int] = {"port": 65535, "subdirs": 999, "streaming": 3}

_GROUPS = """
    smtp smtp_crlf smtp_cr smtp_crorlf smtp_lf nosmtp lmtp
    multigate nomultigate
    connectcanonical connectalias
    mx nomx defaultmx randommx nonrandommx
    nodns nameservers defaultnameservers
    routelocal noroutelocal
    single single_sys multiple addrsperfile
    master slave bidirectional
    periodic immediate immnonurgent immnormal immurgent
    sendpost nosendpost errsendpost copysendpost
    warnpost nowarnpost errwarnpost copywarnpost
    postheadonly postheadbody
    defragment nodefragment
    flagtransfer noflagtransfer
    switchchannel noswitchchannel allowswitchchannel
    identnone identnonelimited identnonenumeric identnonesymbolic identtcp identtcplimited identtcpnumeric identtcpsymbolic
    remotehost noremotehost
    maytls musttls notls
    maytlsclient musttlsclient notlsclient
    maytlsserver musttlsserver notlsserver
    maysasl mustsasl nosasl
    maysaslclient mustsaslclient nosaslclient
    maysaslserver mustsaslserver nosaslserver
    submit nosubmit
    viaaliasrequired viaaliasoptional
    aliaspostmaster noaliaspostmaster
    subaddressexact subaddresswild subaddressrelaxed
    sourceroute 822 percents percentonly 733 uucp bangstyle
    exproute noexproute
    improute noimproute
    header_822 header_733 header_uucp
    inner noinner
    innertrim noinnertrim
    headertrim noheadertrim
    headerread noheaderread
    notary nonotary
    logging nologging
    logheader nologheader
    loopcheck noloopcheck
    restricted unrestricted
    domainetrn allowetrn silentetrn blocketrn
    sendetrn nosendetrn
    domainvrfy localvrfy novrfy
    vrfyallow vrfydefault vrfyhide
    rules norules
    mailfromdnsverify nomailfromdnsverify
    reverse noreverse
    holdexquota noexquota
    ehlo checkehlo noehlo
    eightbit eightnegotiate eightstrict sevenbit
    nobangoverpercent bangoverpercent
    authrewrite noauthrewrite
    defertemporaryfailures accepttemporaryfailures
    filter nofilter
    channelfilter nochannelfilter destinationfilter nodestinationfilter
    sourcefilter nosourcefilter
    blocklimit noblocklimit
    linelimit nolinelimit
    defaulthost nodefaulthost
    fileinto nofileinto
    saslswitchchannel nosaslswitchchannel
    chunkingclient nochunkingclient
"""
GROUP_OF: dict[str, frozenset[str]] = {
    word: frozenset(line.split()) for line in _GROUPS.strip().splitlines() for word in line.split()
}
"""keyword to the keywords it puts out, itself included"""
