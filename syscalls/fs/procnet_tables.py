"""Headings and constant tables of /proc/net."""

from __future__ import annotations

from typing import Final

_INET = (
    b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   ui"
    b"d  timeout inode"
)
_INET6 = (
    b"  sl  local_address                         remote_address                      "
    b"  st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
)
#: By family.
TCP_HEAD: Final = {4: _INET.ljust(149), 6: _INET6}
DATAGRAM_HEAD: Final = {
    4: b" " + _INET + b" ref pointer drops            ",
    6: _INET6 + b" ref pointer drops",
}
RAW_HEAD: Final = {4: _INET + b" ref pointer drops", 6: DATAGRAM_HEAD[6]}
DEV_HEAD: Final = (
    b"Inter-|   Receive                                                |  Transmit\n fa"
    b"ce |bytes    packets errs drop fifo frame compressed multicast|bytes    packets "
    b"errs drop fifo colls carrier compressed\n"
)
ROUTE_HEAD: Final = (
    b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
    b"                                                       \n"
)
CONSTANT: Final[dict[bytes, bytes]] = {
    b"arp": b"IP address       HW type     Flags       HW address            Mask     Device\n",
    b"dev_mcast": b"",
    b"netlink": b"sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    "
    b"Drops    Inode\n",
    b"netstat": b"TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 0 0\n"
    b"IpExt: InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InOctets OutOctets\n"
    b"IpExt: 0 0 0 0 0 0\n",
    b"packet": b"sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n",
    b"protocols": b"protocol  size sockets  memory press maxhdr  slab module     cl co di ac "
    b"io in de sh ss gs se re bi br ha uh gp em\n",
    b"ptype": b"Type Device      Function\n0800          ip_rcv\n86dd          ipv6_rcv\n",
    b"udplite": DATAGRAM_HEAD[4] + b"\n",
    b"udplite6": DATAGRAM_HEAD[6] + b"\n",
}

_UDP = (
    "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors"
    " IgnoredMulti MemErrors"
)
#: Names of the counters of /proc/net/snmp, in their order.
SNMP: Final[dict[str, str]] = {
    "Ip": (
        "Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos"
        " InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds"
        " ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits"
    ),
    "Icmp": (
        "InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs"
        " InRedirects InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps"
        " OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds"
        " OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps"
        " OutTimestampReps OutAddrMasks OutAddrMaskReps"
    ),
    "Tcp": (
        "RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets"
        " CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors"
    ),
    "Udp": _UDP,
    "UdpLite": _UDP,
}
SNMP_FIXED: Final = {
    "Ip": {"Forwarding": 2, "DefaultTTL": 64},
    "Tcp": {"RtoAlgorithm": 1, "RtoMin": 200, "RtoMax": 120000, "MaxConn": -1},
}
